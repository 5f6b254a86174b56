"""Where a chunk stands in its original, in which language, and what to know of how it was read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0011"
branch_labels = None
depends_on = None

_LOCATIONS = "'PAGE', 'SLIDE', 'CELL_RANGE', 'NOTEBOOK_CELL', 'LINE_RANGE'"


def upgrade() -> None:
    op.add_column(
        "document",
        sa.Column(
            "notes",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
    )
    op.alter_column("document", "notes", server_default=None)
    op.execute(
        "UPDATE document SET failure = jsonb_set(failure, '{code}', '\"WRONG_TYPE\"') "
        "WHERE failure ->> 'code' = 'NOT_TEXT'"
    )
    op.add_column("chunk", sa.Column("location_kind", sa.String(), nullable=True))
    op.add_column("chunk", sa.Column("location_label", sa.String(), nullable=True))
    op.add_column("chunk", sa.Column("location_first", sa.Integer(), nullable=True))
    op.add_column("chunk", sa.Column("location_last", sa.Integer(), nullable=True))
    op.add_column("chunk", sa.Column("language", sa.String(), nullable=True))
    op.execute(
        "UPDATE chunk SET language = document.language, "
        "location_kind = CASE WHEN page IS NULL THEN NULL ELSE 'PAGE' END, "
        "location_label = 'page ' || page, location_first = page, location_last = page "
        "FROM document WHERE document.id = chunk.document_id"
    )
    op.alter_column("chunk", "language", nullable=False)
    op.create_check_constraint(
        op.f("ck_chunk_location_kind"), "chunk", f"location_kind IN ({_LOCATIONS})"
    )


def downgrade() -> None:
    op.drop_column("chunk", "language")
    op.drop_column("chunk", "location_last")
    op.drop_column("chunk", "location_first")
    op.drop_column("chunk", "location_label")
    op.drop_column("chunk", "location_kind")
    op.drop_column("document", "notes")
