"""Custom roles, invitations, retention, approved providers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STAMPED = ("approved_provider", "custom_role", "invitation", "retention")


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=nullable)


def _stamps() -> list[sa.Column[object]]:
    return [
        sa.Column(
            name,
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        )
        for name in ("created_at", "updated_at")
    ]


def _keys(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("organization_id", "id", name=op.f(f"uq_{table}_organization_id_id")),
    ]


def _organization(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id"], ["organization.id"], name=op.f(f"fk_{table}_organization_id")
    )


def _within_tenant(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column],
        [f"{target}.organization_id", f"{target}.id"],
        name=op.f(f"fk_{table}_organization_id_{column}"),
        ondelete="RESTRICT",
    )


def _person(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["users.id"], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    _custom_roles()
    _invitations()
    _retention()
    _approved_providers()
    for table in STAMPED:
        op.execute(
            f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
        )


def _custom_roles() -> None:
    op.create_table(
        "custom_role",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("permissions", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("organization_wide", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        _moment("deleted_at", nullable=True),
        sa.CheckConstraint(
            "cardinality(permissions) BETWEEN 1 AND 100 AND "
            "array_to_string(permissions, ' ', '?') ~ '^[a-z]+:[a-z]+( [a-z]+:[a-z]+)*$'",
            name=op.f("ck_custom_role_permissions"),
        ),
        _organization("custom_role"),
        *_keys("custom_role"),
    )
    op.create_index(
        "uq_custom_role_name",
        "custom_role",
        ["organization_id", "name"],
        unique=True,
        postgresql_where="deleted_at IS NULL",
    )
    op.add_column("role_grant", sa.Column("custom_role_id", sa.Uuid(), nullable=True))
    op.alter_column("role_grant", "role", nullable=True)
    op.create_foreign_key(
        op.f("fk_role_grant_organization_id_custom_role_id"),
        "role_grant",
        "custom_role",
        ["organization_id", "custom_role_id"],
        ["organization_id", "id"],
        ondelete="RESTRICT",
    )
    op.create_check_constraint(
        op.f("ck_role_grant_one_role"), "role_grant", "num_nonnulls(role, custom_role_id) = 1"
    )
    _active_grants("user_id", "role", "custom_role_id", "course_id", "observed_student_id")


def _active_grants(*columns: str) -> None:
    op.drop_index("uq_role_grant_active", "role_grant")
    op.create_index(
        "uq_role_grant_active",
        "role_grant",
        list(columns),
        unique=True,
        postgresql_where="state = 'ACTIVE'",
        postgresql_nulls_not_distinct=True,
    )


def _invitations() -> None:
    op.create_table(
        "invitation",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("enrollment_id", sa.Uuid(), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("accepted_by", sa.Uuid(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        _moment("expires_at"),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "state IN ('PENDING', 'ACCEPTED', 'REVOKED')", name=op.f("ck_invitation_state")
        ),
        _within_tenant("invitation", "course_id", "course"),
        _within_tenant("invitation", "user_id", "users"),
        _within_tenant("invitation", "enrollment_id", "enrollment"),
        _person("invitation", "invited_by"),
        _person("invitation", "accepted_by"),
        *_keys("invitation"),
        sa.UniqueConstraint("hash", name=op.f("uq_invitation_hash")),
    )
    op.create_index(
        "uq_invitation_pending",
        "invitation",
        ["enrollment_id"],
        unique=True,
        postgresql_where="state = 'PENDING'",
    )
    op.create_index("ix_invitation_course", "invitation", ["course_id", "id"])


def _retention() -> None:
    days = {
        "session_days": False,
        "idempotency_days": False,
        "study_session_days": True,
        "audit_value_days": True,
        "stream_event_days": True,
    }
    op.create_table(
        "retention",
        *_stamps(),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=empty) for name, empty in days.items()),
        *(
            sa.CheckConstraint(f"{name} BETWEEN 1 AND 36500", name=op.f(f"ck_retention_{name}"))
            for name in days
        ),
        _organization("retention"),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_retention")),
    )


def _approved_providers() -> None:
    op.create_table(
        "approved_provider",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        _moment("withdrawn_at", nullable=True),
        _organization("approved_provider"),
        _person("approved_provider", "approved_by"),
        *_keys("approved_provider"),
    )
    op.create_index(
        "uq_approved_provider",
        "approved_provider",
        ["organization_id", "provider"],
        unique=True,
        postgresql_where="withdrawn_at IS NULL",
    )


def downgrade() -> None:
    op.execute("DELETE FROM role_grant WHERE role IS NULL")
    _active_grants("user_id", "role", "course_id", "observed_student_id")
    op.drop_constraint(op.f("ck_role_grant_one_role"), "role_grant")
    op.drop_column("role_grant", "custom_role_id")
    op.alter_column("role_grant", "role", nullable=False)
    for table in STAMPED:
        op.execute(f"DROP TABLE {table}")
