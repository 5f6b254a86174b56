"""What a search asks first: the languages of a course, and the documents that it leaves out."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_chunk_course", "chunk")
    op.create_index("ix_chunk_course", "chunk", ["course_id", "language"])
    op.create_index(
        "ix_document_not_searched", "document", ["course_id"], postgresql_where="state <> 'READY'"
    )


def downgrade() -> None:
    op.drop_index("ix_document_not_searched", "document")
    op.drop_index("ix_chunk_course", "chunk")
    op.create_index("ix_chunk_course", "chunk", ["course_id"])
