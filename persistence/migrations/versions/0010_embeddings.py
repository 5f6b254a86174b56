"""Vectors stand beside the chunks, each with its model; text is searched in its own language."""

import hashlib

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0012"
branch_labels = None
depends_on = None

BUILT_IN = "embedded:minilm-l6-v2-int8@384"

# The casts are of constants, so that the functions stay immutable and can be inlined.
CONFIGURATION = """
CREATE FUNCTION text_configuration(language text) RETURNS regconfig
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE split_part(lower(language), '-', 1)
        {cases}
        ELSE 'pg_catalog.simple'::regconfig
    END
$$
"""
LANGUAGES = {
    "ar": "arabic", "hy": "armenian", "eu": "basque", "ca": "catalan", "da": "danish",
    "nl": "dutch", "en": "english", "fi": "finnish", "fr": "french", "de": "german",
    "el": "greek", "hi": "hindi", "hu": "hungarian", "id": "indonesian", "ga": "irish",
    "it": "italian", "lt": "lithuanian", "ne": "nepali", "no": "norwegian", "nb": "norwegian",
    "nn": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "es": "spanish", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
HEADINGS = """
CREATE FUNCTION heading_text(heading_path text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT array_to_string(heading_path, ' ') $$
"""
SEARCHED_TEXT = (
    "to_tsvector(text_configuration(language), heading_text(heading_path))"
    " || to_tsvector(text_configuration(language), text)"
)


def _moment(name: str) -> "sa.Column[object]":
    return sa.Column(
        name,
        postgresql.TIMESTAMP(timezone=True),
        server_default=sa.text("now()"),
        nullable=False,
    )


def _of_index(table: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["model", "dimension"],
        ["embedding_index.model", "embedding_index.dimension"],
        name=op.f(f"fk_{table}_model_dimension"),
        ondelete=ondelete,
    )


def _check_dimension(table: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(
        "vector_dims(embedding) = dimension", name=op.f(f"ck_{table}_dimension")
    )


def upgrade() -> None:
    cases = "\n        ".join(
        f"WHEN '{tag}' THEN 'pg_catalog.{name}'::regconfig" for tag, name in LANGUAGES.items()
    )
    op.execute(CONFIGURATION.format(cases=cases))
    op.execute(HEADINGS)
    _create_tables()
    _move_vectors()
    op.drop_index("ix_chunk_tsv", "chunk")
    op.drop_column("chunk", "tsv")
    op.add_column(
        "chunk",
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed(SEARCHED_TEXT, persisted=True),
            nullable=False,
        ),
    )
    op.create_index("ix_chunk_tsv", "chunk", ["tsv"], postgresql_using="gin")


def _create_tables() -> None:
    op.create_table(
        "embedding_index",
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_embedding_index")),
        sa.UniqueConstraint("model", "dimension", name=op.f("uq_embedding_index_model_dimension")),
        sa.CheckConstraint(
            "state IN ('BUILDING', 'READY', 'RETIRED')", name=op.f("ck_embedding_index_state")
        ),
        sa.CheckConstraint(
            "dimension BETWEEN 1 AND 3072", name=op.f("ck_embedding_index_dimension")
        ),
    )
    op.create_index(
        "uq_embedding_index_live",
        "embedding_index",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state <> 'RETIRED'"),
    )
    op.create_table(
        "chunk_embedding",
        sa.Column("chunk_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.PrimaryKeyConstraint("chunk_id", "model", name=op.f("pk_chunk_embedding")),
        sa.ForeignKeyConstraint(
            ["organization_id", "chunk_id"],
            ["chunk.organization_id", "chunk.id"],
            name=op.f("fk_chunk_embedding_organization_id_chunk_id"),
            ondelete="CASCADE",
        ),
        _of_index("chunk_embedding", "RESTRICT"),
        _check_dimension("chunk_embedding"),
    )
    # Beside the row, not in a TOAST table: an exact scan reads every vector of its scope.
    op.execute("ALTER TABLE chunk_embedding ALTER embedding SET STORAGE PLAIN")
    op.create_table(
        "embedding_cache",
        _moment("created_at"),
        _moment("updated_at"),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.PrimaryKeyConstraint("model", "sha256", name=op.f("pk_embedding_cache")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_embedding_cache_sha256")),
        _of_index("embedding_cache", "CASCADE"),
        _check_dimension("embedding_cache"),
    )
    for table in ("embedding_index", "embedding_cache"):
        op.execute(
            f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
        )


def _move_vectors() -> None:
    op.drop_index("ix_chunk_embedding", "chunk")
    op.execute(
        f"INSERT INTO embedding_index (model, dimension, state)"  # noqa: S608 - a constant
        f" SELECT '{BUILT_IN}', 384, 'READY' FROM chunk LIMIT 1"
    )
    op.execute(
        "INSERT INTO chunk_embedding (chunk_id, model, dimension, organization_id, course_id,"  # noqa: S608 - a constant
        " document_id, embedding)"
        f" SELECT id, '{BUILT_IN}', 384, organization_id, course_id, document_id, embedding"
        " FROM chunk"
    )
    op.drop_column("chunk", "embedding")
    op.drop_column("chunk", "embedding_model")
    op.create_index(
        "ix_chunk_embedding_course", "chunk_embedding", ["course_id", "model", "document_id"]
    )
    op.create_index("ix_chunk_embedding_document", "chunk_embedding", ["document_id", "model"])
    # Named by the rule of persistence.embeddings.index_name, as every model's is.
    name = "hnsw_" + hashlib.sha256(BUILT_IN.encode()).hexdigest()[:16]
    op.execute(
        f"CREATE INDEX {name} ON chunk_embedding"
        " USING hnsw ((embedding::halfvec(384)) halfvec_ip_ops)"
        f" WITH (m = 16, ef_construction = 128) WHERE model = '{BUILT_IN}'"
    )


def downgrade() -> None:
    op.add_column("chunk", sa.Column("embedding", HALFVEC(384), nullable=True))
    op.add_column("chunk", sa.Column("embedding_model", sa.String(), nullable=True))
    op.execute(
        "UPDATE chunk c SET embedding = e.embedding, embedding_model = 'minilm-l6-v2-int8'"  # noqa: S608 - a constant
        f" FROM chunk_embedding e WHERE e.chunk_id = c.id AND e.model = '{BUILT_IN}'"
    )
    op.alter_column("chunk", "embedding", nullable=False)
    op.alter_column("chunk", "embedding_model", nullable=False)
    op.create_index(
        "ix_chunk_embedding",
        "chunk",
        ["embedding"],
        postgresql_using="hnsw",
        postgresql_with={"m": 16, "ef_construction": 128},
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
    )
    for table in ("chunk_embedding", "embedding_cache", "embedding_index"):
        op.drop_table(table)
    op.drop_index("ix_chunk_tsv", "chunk")
    op.drop_column("chunk", "tsv")
    op.add_column(
        "chunk",
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('english'::regconfig, text)", persisted=True),
            nullable=False,
        ),
    )
    op.create_index("ix_chunk_tsv", "chunk", ["tsv"], postgresql_using="gin")
    op.execute("DROP FUNCTION heading_text(text[])")
    op.execute("DROP FUNCTION text_configuration(text)")
