"""Study sessions: trees of messages, steps as they happen, shares, what the tutor remembers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0009"
branch_labels = None
depends_on = None

OPEN = "state NOT IN ('COMPLETE', 'ABSTAINED', 'FAILED', 'CANCELLED')"
KINDS = (
    "'GRADED_WORK', 'PLAN', 'RETRIEVE', 'WEB_SEARCH', 'DRAFT', 'CRITIQUE', 'CHECK', 'BUDGET', "
    "'SPENT'"
)
Moment = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    _sessions()
    _tree()
    _steps()
    _facts()
    op.execute(
        "UPDATE study_session s SET active_leaf_id = (SELECT m.id FROM message m "
        "WHERE m.session_id = s.id ORDER BY m.ordinal DESC LIMIT 1)"
    )


def _sessions() -> None:
    op.add_column("study_session", sa.Column("active_leaf_id", sa.Uuid(), nullable=True))
    op.add_column("study_session", sa.Column("archived_at", Moment, nullable=True))
    op.add_column("study_session", sa.Column("shared_at", Moment, nullable=True))
    op.add_column("study_session", sa.Column("shared_until", Moment, nullable=True))
    op.create_check_constraint(
        op.f("ck_study_session_shared"),
        "study_session",
        "shared_until IS NULL OR shared_at IS NOT NULL",
    )
    op.create_index(
        "ix_study_session_shared",
        "study_session",
        ["course_id", "id"],
        postgresql_where="shared_at IS NOT NULL",
    )


def _tree() -> None:
    op.drop_constraint("fk_message_organization_id_reply_to_id", "message", type_="foreignkey")
    op.drop_constraint("uq_message_reply_to_id", "message", type_="unique")
    op.drop_constraint(op.f("ck_message_reply"), "message", type_="check")
    op.alter_column("message", "reply_to_id", new_column_name="parent_id")
    # questions followed the message before them
    op.execute(
        "UPDATE message q SET parent_id = m.id FROM message m WHERE q.author = 'STUDENT' "
        "AND m.session_id = q.session_id AND m.ordinal = q.ordinal - 1"
    )
    op.create_check_constraint(
        op.f("ck_message_reply"), "message", "author = 'STUDENT' OR parent_id IS NOT NULL"
    )
    op.create_unique_constraint(op.f("uq_message_session_id_id"), "message", ["session_id", "id"])
    op.create_foreign_key(
        op.f("fk_message_session_id_parent_id"),
        "message",
        "message",
        ["session_id", "parent_id"],
        ["session_id", "id"],
        ondelete="CASCADE",
    )
    op.create_index("ix_message_parent", "message", ["parent_id", "ordinal"])
    op.create_index(
        "uq_message_open", "message", ["session_id"], unique=True, postgresql_where=OPEN
    )
    op.add_column("message", sa.Column("summary", sa.String(), nullable=True))


def _steps() -> None:
    op.add_column("agent_step", sa.Column("key", sa.String(), nullable=True))
    op.execute(
        "UPDATE agent_step s SET key = n.key FROM (SELECT id, kind || ':' || row_number() OVER "
        "(PARTITION BY message_id, kind ORDER BY ordinal) - 1 AS key FROM agent_step) n "
        "WHERE n.id = s.id"
    )
    op.alter_column("agent_step", "key", nullable=False)
    op.create_unique_constraint(
        op.f("uq_agent_step_message_id_key"), "agent_step", ["message_id", "key"]
    )
    op.create_check_constraint(op.f("ck_agent_step_kind"), "agent_step", f"kind IN ({KINDS})")


def _facts() -> None:
    op.create_table(
        "memory_fact",
        sa.Column("created_at", Moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", Moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("state IN ('PROPOSED', 'ACCEPTED')", name=op.f("ck_memory_fact_state")),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_memory_fact_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_memory_fact_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memory_fact")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_memory_fact_organization_id_id")
        ),
    )
    op.create_index("ix_memory_fact_user", "memory_fact", ["user_id", "id"])
    op.execute(
        "CREATE TRIGGER touch_memory_fact BEFORE UPDATE ON memory_fact "
        "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
    )


def downgrade() -> None:
    op.drop_table("memory_fact")
    op.drop_constraint(op.f("ck_agent_step_kind"), "agent_step", type_="check")
    op.drop_column("agent_step", "key")
    op.drop_column("message", "summary")
    op.drop_index("uq_message_open", "message")
    op.drop_index("ix_message_parent", "message")
    op.drop_constraint("fk_message_session_id_parent_id", "message", type_="foreignkey")
    op.drop_constraint("uq_message_session_id_id", "message", type_="unique")
    op.drop_constraint(op.f("ck_message_reply"), "message", type_="check")
    op.execute("UPDATE message SET parent_id = NULL WHERE author = 'STUDENT'")
    op.alter_column("message", "parent_id", new_column_name="reply_to_id")
    op.create_check_constraint(
        op.f("ck_message_reply"), "message", "(author = 'TUTOR') = (reply_to_id IS NOT NULL)"
    )
    op.create_unique_constraint("uq_message_reply_to_id", "message", ["reply_to_id"])
    op.create_foreign_key(
        "fk_message_organization_id_reply_to_id",
        "message",
        "message",
        ["organization_id", "reply_to_id"],
        ["organization_id", "id"],
        ondelete="CASCADE",
    )
    op.drop_index("ix_study_session_shared", "study_session")
    op.drop_constraint(op.f("ck_study_session_shared"), "study_session", type_="check")
    for column in ("shared_until", "shared_at", "archived_at", "active_leaf_id"):
        op.drop_column("study_session", column)
