"""Answers may rest on pages of the web; courses say which; guarded questions are counted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0010"
branch_labels = None
depends_on = None

_STAMPED = ("web_policy", "web_source", "guarded_question")


def upgrade() -> None:
    op.create_table(
        "web_policy",
        *_stamps(),
        sa.Column("course_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("allowed_domains", postgresql.JSONB(), nullable=False),
        sa.Column("denied_domains", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("course_id", name="pk_web_policy"),
        _within("web_policy", "course_id", "course"),
    )
    op.create_table(
        "web_source",
        *_stamps(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("extract", sa.String(), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_web_source"),
        sa.UniqueConstraint("organization_id", "id", name="uq_web_source_organization_id_id"),
        _within("web_source", "message_id", "message"),
    )
    op.create_index("ix_web_source_message", "web_source", ["organization_id", "message_id"])
    op.create_table(
        "web_search_usage",
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("searches", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "day", name="pk_web_search_usage"),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name="fk_web_search_usage_organization_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("searches >= 0", name=op.f("ck_web_search_usage_searches")),
    )
    op.create_table(
        "guarded_question",
        *_stamps(),
        sa.Column("assignment_id", sa.Uuid(), nullable=False),
        sa.Column("guarding", sa.String(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("questions", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("assignment_id", "guarding", name="pk_guarded_question"),
        _within("guarded_question", "assignment_id", "assignment"),
        sa.CheckConstraint(
            "guarding IN ('HINTED', 'REFUSED', 'LANGUAGE')",
            name=op.f("ck_guarded_question_guarding"),
        ),
        sa.CheckConstraint("questions > 0", name=op.f("ck_guarded_question_questions")),
    )
    for table in _STAMPED:
        op.execute(
            f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
        )
    _citations()


def _citations() -> None:
    op.alter_column("citation", "chunk_id", nullable=True)
    op.add_column("citation", sa.Column("web_source_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        "fk_citation_organization_id_web_source_id",
        "citation",
        "web_source",
        ["organization_id", "web_source_id"],
        ["organization_id", "id"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_citation_web_source",
        "citation",
        ["organization_id", "web_source_id"],
        postgresql_where=sa.text("web_source_id IS NOT NULL"),
    )
    op.create_check_constraint(
        op.f("ck_citation_source"), "citation", "(chunk_id IS NULL) <> (web_source_id IS NULL)"
    )


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


def _within(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organization_id", column],
        [f"{target}.organization_id", f"{target}.id"],
        name=f"fk_{table}_organization_id_{column}",
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.execute("DELETE FROM citation WHERE chunk_id IS NULL")
    op.drop_constraint("ck_citation_source", "citation")
    op.drop_column("citation", "web_source_id")
    op.alter_column("citation", "chunk_id", nullable=False)
    for table in ("guarded_question", "web_search_usage", "web_source", "web_policy"):
        op.drop_table(table)
