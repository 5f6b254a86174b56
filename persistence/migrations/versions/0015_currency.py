"""What was paid says in which currency; use is listed by organization, course and person."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TABLES = ("model_usage", "model_call")


def upgrade() -> None:
    for table in TABLES:  # the default stays: an older process goes on while the newer begin
        op.add_column(
            table,
            sa.Column("currency", sa.String(), server_default=sa.text("'USD'"), nullable=False),
        )
    op.drop_index("ix_model_usage_organization", "model_usage")
    for name in ("organization", "course", "user"):
        op.create_index(f"ix_model_usage_{name}", "model_usage", [f"{name}_id", "id"])


def downgrade() -> None:
    for name in ("organization", "course", "user"):
        op.drop_index(f"ix_model_usage_{name}", "model_usage")
    op.create_index("ix_model_usage_organization", "model_usage", ["organization_id", "created_at"])
    for table in TABLES:
        op.drop_column(table, "currency")
