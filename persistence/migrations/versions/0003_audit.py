"""The audit log: events nobody changes, their chains, the personal values apart."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# An event is written once; the sealer alone gives it its number and hash, once.
KEEP_EVENTS = """
CREATE FUNCTION refuse_change_of_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_event' THEN
        IF OLD.seq IS NULL
            AND (to_jsonb(NEW) - '{seq,hash}'::text[]) = (to_jsonb(OLD) - '{seq,hash}'::text[])
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is not changed' USING ERRCODE = '23514';
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("real_actor_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("permission", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("refusal_code", sa.String(), nullable=True),
        sa.Column("object_type", sa.String(), nullable=True),
        sa.Column("object_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("correlation_id", sa.String(), nullable=True),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('DONE', 'REFUSED', 'FAILED')", name=op.f("ck_audit_event_outcome")
        ),
        sa.CheckConstraint("(seq IS NULL) = (hash IS NULL)", name=op.f("ck_audit_event_sealed")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_audit_event_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index("uq_audit_event_seq", "audit_event", ["organization_id", "seq"], unique=True)
    op.create_index(
        "ix_audit_event_unsealed",
        "audit_event",
        ["organization_id", "id"],
        postgresql_where="seq IS NULL",
    )
    op.create_index("ix_audit_event_time", "audit_event", ["organization_id", "id"])
    op.create_index("ix_audit_event_actor", "audit_event", ["actor_id", "id"])
    op.create_index("ix_audit_event_course", "audit_event", ["course_id", "id"])
    op.create_index("ix_audit_event_objects", "audit_event", ["object_ids"], postgresql_using="gin")
    op.create_table(
        "audit_chain",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_audit_chain_organization_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_audit_chain")),
    )
    op.create_table(
        "personal_value",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["audit_event.id"],
            name=op.f("fk_personal_value_event_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_personal_value_organization_id"),
        ),
        sa.PrimaryKeyConstraint("event_id", "path", name=op.f("pk_personal_value")),
    )
    op.execute(KEEP_EVENTS)
    op.execute(
        "CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON audit_event "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit_event()"
    )
    op.execute(
        "CREATE TRIGGER kept_whole BEFORE TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_event()"
    )
    op.execute(
        "CREATE TRIGGER kept BEFORE UPDATE ON personal_value "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change_of_audit_event()"
    )


def downgrade() -> None:
    for table in ("personal_value", "audit_chain", "audit_event"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_change_of_audit_event()")
