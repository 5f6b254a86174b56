"""Allocations of marking, and courses opened by break-glass."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = ("break_glass", "marking_allocation")


def upgrade() -> None:
    _marking_allocation()
    _break_glass()
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
        )


def _marking_allocation() -> None:
    op.create_table(
        "marking_allocation",
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("allocated_by", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "role IN ('GRADER', 'BLIND_GRADER', 'MODERATOR')",
            name=op.f("ck_marking_allocation_role"),
        ),
        sa.CheckConstraint(
            "state IN ('ACTIVE', 'WITHDRAWN')", name=op.f("ck_marking_allocation_state")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_marking_allocation_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name=op.f("fk_marking_allocation_organization_id_assignment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "submission_id"],
            ["submission.organization_id", "submission.id"],
            name=op.f("fk_marking_allocation_organization_id_submission_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_marking_allocation_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "allocated_by"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_marking_allocation_organization_id_allocated_by"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marking_allocation")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_marking_allocation_organization_id_id")
        ),
    )
    op.create_index(
        "uq_marking_allocation_active",
        "marking_allocation",
        ["user_id", "submission_id", "role"],
        unique=True,
        postgresql_where=sa.text("state = 'ACTIVE'"),
    )
    op.create_index("ix_marking_allocation_assignment", "marking_allocation", ["assignment_id"])


def _break_glass() -> None:
    op.create_table(
        "break_glass",
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("role IN ('ADMIN', 'AUDITOR')", name=op.f("ck_break_glass_role")),
        sa.CheckConstraint(
            "expires_at <= created_at + interval '1 hour'", name=op.f("ck_break_glass_time_boxed")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_break_glass_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_break_glass_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "ended_by"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_break_glass_organization_id_ended_by"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass")),
    )
    op.create_index(
        "ix_break_glass_user",
        "break_glass",
        ["user_id"],
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_break_glass_course", "break_glass", ["course_id"])


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
