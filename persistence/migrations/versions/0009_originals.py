"""Originals in the object storage, and resumable uploads.

The bytes that are in the database stay there until a worker has moved each to the storage.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATES = (
    "UPLOADED",
    "EXTRACTING",
    "CHUNKING",
    "EMBEDDING",
    "READY",
    "REINDEXING",
    "FAILED",
    "NO_TEXT",
    "DELETED",
)
OVER = ("FAILED", "NO_TEXT", "DELETED")


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


def _within(table: str, column: str, target: str, ondelete: str = "RESTRICT") -> sa.Constraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column],
        [f"{target}.organization_id", f"{target}.id"],
        name=op.f(f"fk_{table}_organization_id_{column}"),
        ondelete=ondelete,
    )


def upgrade() -> None:
    _objects()
    _uploads()
    _fetches()
    _versions()
    _replacements()
    for table in ("stored_object", "upload", "upload_part", "document_fetch"):
        op.execute(
            f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
        )


def _objects() -> None:
    op.create_table(
        "stored_object",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("byte_size >= 0", name=op.f("ck_stored_object_byte_size")),
        sa.CheckConstraint(
            "state IN ('WRITING', 'KEPT', 'DOOMED')", name=op.f("ck_stored_object_state")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_stored_object_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_object")),
        sa.UniqueConstraint("key", name=op.f("uq_stored_object_key")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_stored_object_organization_id_id")
        ),
    )
    op.create_index(
        "ix_stored_object_unkept",
        "stored_object",
        ["created_at"],
        postgresql_where=sa.text("state <> 'KEPT'"),
    )
    op.create_index(
        "ix_stored_object_size",
        "stored_object",
        ["organization_id"],
        postgresql_include=["byte_size"],
    )


def _uploads() -> None:
    op.create_table(
        "upload",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=True),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "0 <= received AND received <= byte_size", name=op.f("ck_upload_received")
        ),
        sa.CheckConstraint("purpose IN ('DOCUMENT', 'IMPORT')", name=op.f("ck_upload_purpose")),
        sa.CheckConstraint(
            "state IN ('OPEN', 'COMPLETE', 'REJECTED', 'USED', 'ENDED')",
            name=op.f("ck_upload_state"),
        ),
        _within("upload", "course_id", "course"),
        _within("upload", "user_id", "users"),
        _within("upload", "object_id", "stored_object"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_upload_organization_id_id")),
    )
    op.create_index("ix_upload_user", "upload", ["user_id", "state"])
    op.create_index("ix_upload_course", "upload", ["organization_id", "course_id"])
    op.create_index(
        "ix_upload_expiry", "upload", ["expires_at"], postgresql_where=sa.text("state <> 'USED'")
    )
    op.create_index("ix_upload_object", "upload", ["organization_id", "object_id"])
    op.create_table(
        "upload_part",
        *_stamps(),
        sa.Column("upload_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("byte_size", sa.Integer(), nullable=False),
        sa.Column("object_id", sa.Uuid(), nullable=False),
        _within("upload_part", "upload_id", "upload", "CASCADE"),
        _within("upload_part", "object_id", "stored_object"),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_part")),
    )
    op.create_index("ix_upload_part_object", "upload_part", ["organization_id", "object_id"])


def _fetches() -> None:
    op.create_table(
        "document_fetch",
        *_stamps(),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        _within("document_fetch", "document_id", "document", "CASCADE"),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_document_fetch")),
    )
    op.create_index("ix_document_fetch_waiting", "document_fetch", ["updated_at"])


def _versions() -> None:
    op.add_column("document_version", sa.Column("object_id", sa.Uuid(), nullable=True))
    op.alter_column("document_version", "original", nullable=True)
    op.create_foreign_key(
        op.f("fk_document_version_organization_id_object_id"),
        "document_version",
        "stored_object",
        ["organization_id", "object_id"],
        ["organization_id", "id"],
        ondelete="RESTRICT",
    )
    op.create_index(
        "ix_document_version_object", "document_version", ["organization_id", "object_id"]
    )
    op.create_index(
        "ix_document_version_unmoved",
        "document_version",
        ["id"],
        postgresql_where=sa.text("original IS NOT NULL"),
    )
    op.create_index("ix_document_course", "document", ["organization_id", "course_id"])
    op.create_index(
        "ix_document_waiting",
        "document",
        ["uploaded_by"],
        postgresql_where=sa.text("state IN ('UPLOADED', 'EXTRACTING', 'CHUNKING', 'EMBEDDING')"),
    )


def _replacements() -> None:
    op.add_column(
        "document", sa.Column("version", sa.Integer(), server_default="1", nullable=False)
    )
    op.alter_column("document", "version", server_default=None)
    op.add_column("document", sa.Column("replaces_id", sa.Uuid(), nullable=True))
    op.create_check_constraint(op.f("ck_document_version"), "document", "version >= 1")
    op.create_foreign_key(
        op.f("fk_document_organization_id_replaces_id"),
        "document",
        "document",
        ["organization_id", "replaces_id"],
        ["organization_id", "id"],
        ondelete="RESTRICT",
    )
    op.create_index(
        "uq_document_replacement",
        "document",
        ["organization_id", "replaces_id"],
        unique=True,
        postgresql_where=sa.text("state NOT IN ('FAILED', 'NO_TEXT', 'DELETED')"),
    )
    op.create_index(
        "ix_document_replaced",
        "document",
        ["updated_at"],
        postgresql_where=sa.text("state = 'REPLACED'"),
    )
    _states((*STATES, "REPLACED"), (*OVER, "REPLACED"))


def _states(states: tuple[str, ...], over: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_document_state"), "document")
    op.create_check_constraint(op.f("ck_document_state"), "document", f"state IN {states}")
    op.drop_index("uq_document_content", "document")
    op.create_index(
        "uq_document_content",
        "document",
        ["course_id", "sha256"],
        unique=True,
        postgresql_where=sa.text(f"state NOT IN {over}"),
    )


def downgrade() -> None:
    # What lies in the storage alone cannot come back into the database from here.
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT 1 FROM document_version WHERE object_id IS NOT NULL) THEN "
        "RAISE EXCEPTION 'originals are in the object storage: this cannot be undone'; "
        "END IF; END $$"
    )
    _states(STATES, OVER)
    for name in ("uq_document_replacement", "ix_document_replaced"):
        op.drop_index(name, "document")
    for name in ("replaces_id", "version"):
        op.drop_column("document", name)
    for name in ("ix_document_course", "ix_document_waiting"):
        op.drop_index(name, "document")
    op.drop_index("ix_document_version_unmoved", "document_version")
    op.drop_column("document_version", "object_id")
    op.alter_column("document_version", "original", nullable=False)
    for table in ("document_fetch", "upload_part", "upload", "stored_object"):
        op.drop_table(table)
