"""The hash of a model's answer stands beside it, so that a ledger outlives the answer."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_call", sa.Column("response_sha256", sa.String(), nullable=True))
    op.execute(
        "UPDATE model_call SET response_sha256 = "
        "encode(sha256(convert_to(response, 'UTF8')), 'hex')"
    )
    op.alter_column("model_call", "response_sha256", nullable=False)


def downgrade() -> None:
    op.drop_column("model_call", "response_sha256")
