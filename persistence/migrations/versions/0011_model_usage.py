"""The use of models: requests and their cost, budgets with their sums, and choices."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

revision = "0011"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("model_usage", "model_budget", "model_spending", "model_choice")


def upgrade() -> None:
    _create(
        "model_usage",
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name="fk_model_usage_organization_id_user_id",
            ondelete="RESTRICT",
        ),
        _within_course("model_usage", "RESTRICT"),
        sa.CheckConstraint(
            "cost_micros >= 0 AND reserved_micros >= 0", name="ck_model_usage_micros"
        ),
    )
    op.create_index("ix_model_usage_organization", "model_usage", ["organization_id", "created_at"])
    op.create_index("ix_model_usage_owner", "model_usage", ["owner_id"])
    op.create_index(
        "ix_model_usage_running",
        "model_usage",
        ["created_at"],
        postgresql_where=sa.text("outcome = 'RUNNING'"),
    )
    _create(
        "model_budget",
        sa.Column("micros", sa.BigInteger(), nullable=False),
        _within_course("model_budget", "CASCADE"),
        sa.CheckConstraint("micros >= 0", name="ck_model_budget_micros"),
        _unique("model_budget"),
    )
    _create(
        "model_spending",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        _within_course("model_spending", "CASCADE"),
        sa.CheckConstraint(
            "spent_micros >= 0 AND reserved_micros >= 0", name="ck_model_spending_micros"
        ),
        _unique("model_spending", "month"),
    )
    _create(
        "model_choice",
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("models", sa.String(), nullable=False),
        _within_course("model_choice", "CASCADE"),
        _unique("model_choice", "role"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")


def _create(table: str, *items: SchemaItem) -> None:
    op.create_table(
        table,
        *(
            sa.Column(
                name,
                postgresql.TIMESTAMP(timezone=True),
                server_default=sa.text("now()"),
                nullable=False,
            )
            for name in ("created_at", "updated_at")
        ),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=True),
        *items,
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=f"fk_{table}_organization_id"
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )
    op.execute(
        f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
    )


def _within_course(table: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", "course_id"],
        ["course.organization_id", "course.id"],
        name=f"fk_{table}_organization_id_course_id",
        ondelete=ondelete,
    )


def _unique(table: str, *further: str) -> sa.UniqueConstraint:
    columns = ("organization_id", "course_id", *further)
    return sa.UniqueConstraint(
        *columns, name=f"uq_{table}_{'_'.join(columns)}", postgresql_nulls_not_distinct=True
    )
