"""The spine: people, courses, rubrics, submissions, grading, grades, documents, study, streams."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = [
    "organization",
    "course",
    "model_call",
    "stream_event",
    "users",
    "assignment",
    "document",
    "enrollment",
    "idempotency",
    "role_grant",
    "rubric",
    "study_session",
    "document_version",
    "grading_run",
    "message",
    "rubric_version",
    "submission",
    "agent_step",
    "attempt",
    "chunk",
    "criterion",
    "grade",
    "question",
    "anchor_paper",
    "citation",
    "grading_task",
    "level",
    "question_response",
    "assessment",
    "grade_version",
    "criterion_assessment",
    "criterion_score",
    "evidence_span",
]

TOUCH = """
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$
"""

# A published rubric is what grades were given by: its content can no longer change.
PUBLISHED_RUBRICS = """
CREATE FUNCTION refuse_change_of_published_rubric() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    version_id uuid;
    published boolean;
BEGIN
    IF TG_TABLE_NAME = 'criterion' THEN
        version_id := CASE WHEN TG_OP = 'INSERT' THEN NEW.rubric_version_id
                           ELSE OLD.rubric_version_id END;
    ELSE
        SELECT rubric_version_id INTO version_id FROM criterion
        WHERE id = CASE WHEN TG_OP = 'INSERT' THEN NEW.criterion_id ELSE OLD.criterion_id END;
    END IF;
    SELECT state <> 'DRAFT' INTO published FROM rubric_version WHERE id = version_id;
    IF published THEN
        RAISE EXCEPTION 'a published rubric version cannot change' USING ERRCODE = '23514';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.create_table(
        "organization",
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
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization")),
        sa.UniqueConstraint("slug", name=op.f("uq_organization_slug")),
    )
    op.create_table(
        "course",
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
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("time_zone", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_course_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_course")),
        sa.UniqueConstraint("organization_id", "code", name=op.f("uq_course_organization_id_code")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_course_organization_id_id")),
    )
    op.create_table(
        "model_call",
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
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step_key", sa.String(), nullable=False),
        sa.Column("request_hash", sa.String(), nullable=False),
        sa.Column("response", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("cost_micros >= 0", name=op.f("ck_model_call_cost_micros")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_model_call_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_call")),
        sa.UniqueConstraint(
            "owner_id",
            "generation",
            "step_key",
            name=op.f("uq_model_call_owner_id_generation_step_key"),
        ),
    )
    op.create_table(
        "stream_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("stream_kind", sa.String(), nullable=False),
        sa.Column("stream_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "stream_kind IN ('GRADING_RUN', 'STUDY_SESSION', 'DOCUMENT')",
            name=op.f("ck_stream_event_stream_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_stream_event_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stream_event")),
    )
    op.create_index(
        "ix_stream_event_pending",
        "stream_event",
        ["stream_id", "id"],
        unique=False,
        postgresql_where="seq IS NULL",
    )
    op.create_index("uq_stream_event_seq", "stream_event", ["stream_id", "seq"], unique=True)
    op.create_table(
        "users",
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
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_users_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint(
            "organization_id", "email", name=op.f("uq_users_organization_id_email")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_users_organization_id_id")),
    )
    op.create_table(
        "assignment",
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
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("instructions", sa.String(), nullable=False),
        sa.Column("points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("unlock_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("lock_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("attempts_allowed", sa.Integer(), nullable=False),
        sa.Column("late_policy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("anonymous", sa.Boolean(), nullable=False),
        sa.Column("ai_policy", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "ai_policy IN ('OPEN', 'HINTS', 'CLOSED')", name=op.f("ck_assignment_ai_policy")
        ),
        sa.CheckConstraint(
            "kind IN ('ESSAY', 'SHORT_ANSWER', 'CODE', 'MCQ')", name=op.f("ck_assignment_kind")
        ),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'PUBLISHED', 'CLOSED', 'ARCHIVED')",
            name=op.f("ck_assignment_state"),
        ),
        sa.CheckConstraint("attempts_allowed > 0", name=op.f("ck_assignment_attempts_allowed")),
        sa.CheckConstraint("due_at <= lock_at", name=op.f("ck_assignment_due_before_lock")),
        sa.CheckConstraint("points > 0", name=op.f("ck_assignment_points")),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_assignment_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_assignment_organization_id_id")),
    )
    op.create_table(
        "document",
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
        sa.Column("uploaded_by", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("byte_size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("failure", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('UPLOADED', 'EXTRACTING', 'CHUNKING', 'EMBEDDING', 'READY', 'REINDEXING', 'FAILED', 'NO_TEXT', 'DELETED')",
            name=op.f("ck_document_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_document_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "uploaded_by"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_document_organization_id_uploaded_by"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_document_organization_id_id")),
    )
    op.create_index(
        "uq_document_content",
        "document",
        ["course_id", "sha256"],
        unique=True,
        postgresql_where="state NOT IN ('FAILED', 'NO_TEXT', 'DELETED')",
    )
    op.create_table(
        "enrollment",
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
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "role IN ('ADMIN', 'AUDITOR', 'INSTRUCTOR', 'MODERATOR', 'GRADER', 'BLIND_GRADER', 'DESIGNER', 'STUDENT', 'OBSERVER')",
            name=op.f("ck_enrollment_role"),
        ),
        sa.CheckConstraint(
            "state IN ('INVITED', 'ACTIVE', 'INACTIVE', 'COMPLETED', 'REMOVED')",
            name=op.f("ck_enrollment_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_enrollment_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_enrollment_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrollment")),
        sa.UniqueConstraint("course_id", "user_id", name=op.f("uq_enrollment_course_id_user_id")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_enrollment_organization_id_id")),
    )
    op.create_index(
        "ix_enrollment_user",
        "enrollment",
        ["user_id"],
        unique=False,
        postgresql_where="state = 'ACTIVE'",
    )
    op.create_table(
        "idempotency",
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
        sa.Column("mutation", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("input_hash", sa.String(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_idempotency_organization_id_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency")),
        sa.UniqueConstraint(
            "user_id", "mutation", "key", name=op.f("uq_idempotency_user_id_mutation_key")
        ),
    )
    op.create_table(
        "role_grant",
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
        sa.Column("course_id", sa.Uuid(), nullable=True),
        sa.Column("observed_student_id", sa.Uuid(), nullable=True),
        sa.Column("granted_by", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "(course_id IS NULL) = (role IN ('ADMIN', 'AUDITOR'))",
            name=op.f("ck_role_grant_course_scope"),
        ),
        sa.CheckConstraint(
            "role IN ('ADMIN', 'AUDITOR', 'INSTRUCTOR', 'MODERATOR', 'GRADER', 'BLIND_GRADER', 'DESIGNER', 'STUDENT', 'OBSERVER')",
            name=op.f("ck_role_grant_role"),
        ),
        sa.CheckConstraint(
            "state IN ('REQUESTED', 'ACTIVE', 'EXPIRED', 'REVOKED')",
            name=op.f("ck_role_grant_state"),
        ),
        sa.CheckConstraint(
            "granted_by <> user_id", name=op.f("ck_role_grant_nobody_grants_themselves")
        ),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["users.id"], name=op.f("fk_role_grant_granted_by")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_role_grant_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "observed_student_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_role_grant_organization_id_observed_student_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_role_grant_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_role_grant_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grant")),
    )
    op.create_index(
        "uq_role_grant_active",
        "role_grant",
        ["user_id", "role", "course_id", "observed_student_id"],
        unique=True,
        postgresql_where="state = 'ACTIVE'",
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "rubric",
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
        sa.Column("title", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_rubric_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rubric")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_rubric_organization_id_id")),
    )
    op.create_table(
        "study_session",
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
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_study_session_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_study_session_organization_id_user_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_session")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_study_session_organization_id_id")
        ),
    )
    op.create_index(
        "ix_study_session_user", "study_session", ["user_id", "course_id"], unique=False
    )
    op.create_table(
        "document_version",
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
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("original", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id", "document_id"],
            ["document.organization_id", "document.id"],
            name=op.f("fk_document_version_organization_id_document_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document_version")),
        sa.UniqueConstraint(
            "document_id", "number", name=op.f("uq_document_version_document_id_number")
        ),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_document_version_organization_id_id")
        ),
    )
    op.create_table(
        "grading_run",
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
        sa.Column("started_by", sa.Uuid(), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("budget_micros", sa.BigInteger(), nullable=True),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("paused_because", sa.String(), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'ESTIMATED', 'QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING', 'CANCELLED', 'COMPLETED', 'COMPLETED_WITH_ERRORS', 'FAILED')",
            name=op.f("ck_grading_run_state"),
        ),
        sa.CheckConstraint("spent_micros >= 0", name=op.f("ck_grading_run_spent_micros")),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name=op.f("fk_grading_run_organization_id_assignment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_grading_run_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "started_by"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_grading_run_organization_id_started_by"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grading_run")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_grading_run_organization_id_id")
        ),
    )
    op.create_index(
        "uq_grading_run_live",
        "grading_run",
        ["assignment_id"],
        unique=True,
        postgresql_where="state IN ('DRAFT', 'ESTIMATED', 'QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING')",
    )
    op.create_table(
        "message",
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
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("reply_to_id", sa.Uuid(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("route", sa.String(), nullable=True),
        sa.Column("failure", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(author = 'TUTOR') = (reply_to_id IS NOT NULL)", name=op.f("ck_message_reply")
        ),
        sa.CheckConstraint("author IN ('STUDENT', 'TUTOR')", name=op.f("ck_message_author")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'PLANNING', 'RETRIEVING', 'GENERATING', 'VERIFYING', 'COMPLETE', 'ABSTAINED', 'FAILED', 'CANCELLED')",
            name=op.f("ck_message_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "reply_to_id"],
            ["message.organization_id", "message.id"],
            name=op.f("fk_message_organization_id_reply_to_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "session_id"],
            ["study_session.organization_id", "study_session.id"],
            name=op.f("fk_message_organization_id_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_message_organization_id_id")),
        sa.UniqueConstraint("reply_to_id", name=op.f("uq_message_reply_to_id")),
        sa.UniqueConstraint("session_id", "ordinal", name=op.f("uq_message_session_id_ordinal")),
    )
    op.create_index(
        "ix_message_working",
        "message",
        ["lease_until"],
        unique=False,
        postgresql_where="state NOT IN ('COMPLETE', 'ABSTAINED', 'FAILED', 'CANCELLED')",
    )
    op.create_table(
        "rubric_version",
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
        sa.Column("rubric_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "state IN ('DRAFT', 'PUBLISHED', 'RETIRED')", name=op.f("ck_rubric_version_state")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_rubric_version_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "rubric_id"],
            ["rubric.organization_id", "rubric.id"],
            name=op.f("fk_rubric_version_organization_id_rubric_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rubric_version")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_rubric_version_organization_id_id")
        ),
        sa.UniqueConstraint("rubric_id", "number", name=op.f("uq_rubric_version_rubric_id_number")),
    )
    op.create_index(
        "uq_rubric_version_published",
        "rubric_version",
        ["rubric_id"],
        unique=True,
        postgresql_where="state = 'PUBLISHED'",
    )
    op.create_table(
        "submission",
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
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "state IN ('UNSUBMITTED', 'DRAFTING', 'SUBMITTED', 'RETURNED_FOR_REVISION')",
            name=op.f("ck_submission_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name=op.f("fk_submission_organization_id_assignment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_submission_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "student_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_submission_organization_id_student_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submission")),
        sa.UniqueConstraint(
            "assignment_id", "alias", name=op.f("uq_submission_assignment_id_alias")
        ),
        sa.UniqueConstraint(
            "assignment_id", "student_id", name=op.f("uq_submission_assignment_id_student_id")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_submission_organization_id_id")),
    )
    op.create_table(
        "agent_step",
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
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "message_id"],
            ["message.organization_id", "message.id"],
            name=op.f("fk_agent_step_organization_id_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent_step")),
        sa.UniqueConstraint("message_id", "ordinal", name=op.f("uq_agent_step_message_id_ordinal")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_agent_step_organization_id_id")),
    )
    op.create_table(
        "attempt",
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
        sa.Column("submitted_by", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("submitted_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("late_by", sa.Interval(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.CheckConstraint(
            "state IN ('RECEIVED', 'EXTRACTING', 'READY', 'EXTRACT_FAILED', 'QUARANTINED')",
            name=op.f("ck_attempt_state"),
        ),
        sa.CheckConstraint("number > 0", name=op.f("ck_attempt_number")),
        sa.ForeignKeyConstraint(
            ["organization_id", "submission_id"],
            ["submission.organization_id", "submission.id"],
            name=op.f("fk_attempt_organization_id_submission_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "submitted_by"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_attempt_organization_id_submitted_by"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_attempt_organization_id_id")),
        sa.UniqueConstraint(
            "submission_id", "number", name=op.f("uq_attempt_submission_id_number")
        ),
    )
    op.create_table(
        "chunk",
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
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("document_version_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("heading_path", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed("to_tsvector('english'::regconfig, text)", persisted=True),
            nullable=False,
        ),
        sa.Column("embedding", HALFVEC(dim=384), nullable=False),
        sa.Column("embedding_model", sa.String(), nullable=False),
        sa.CheckConstraint('0 <= "start" AND "start" < "end"', name=op.f("ck_chunk_span")),
        sa.ForeignKeyConstraint(
            ["organization_id", "document_id"],
            ["document.organization_id", "document.id"],
            name=op.f("fk_chunk_organization_id_document_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "document_version_id"],
            ["document_version.organization_id", "document_version.id"],
            name=op.f("fk_chunk_organization_id_document_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunk")),
        sa.UniqueConstraint(
            "document_version_id", "ordinal", name=op.f("uq_chunk_document_version_id_ordinal")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_chunk_organization_id_id")),
    )
    op.create_index("ix_chunk_course", "chunk", ["course_id"], unique=False)
    op.create_index(
        "ix_chunk_embedding",
        "chunk",
        ["embedding"],
        unique=False,
        postgresql_using="hnsw",
        postgresql_with={"m": 16, "ef_construction": 128},
        postgresql_ops={"embedding": "halfvec_cosine_ops"},
    )
    op.create_index("ix_chunk_tsv", "chunk", ["tsv"], unique=False, postgresql_using="gin")
    op.create_table(
        "criterion",
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
        sa.Column("rubric_version_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("guidelines", sa.String(), nullable=False),
        sa.Column("points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.CheckConstraint("points > 0", name=op.f("ck_criterion_points")),
        sa.ForeignKeyConstraint(
            ["organization_id", "rubric_version_id"],
            ["rubric_version.organization_id", "rubric_version.id"],
            name=op.f("fk_criterion_organization_id_rubric_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criterion")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_criterion_organization_id_id")),
        sa.UniqueConstraint(
            "rubric_version_id", "position", name=op.f("uq_criterion_rubric_version_id_position")
        ),
    )
    op.create_table(
        "grade",
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
        sa.Column("student_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("released_by", sa.Uuid(), nullable=True),
        sa.Column("released_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state <> 'RELEASED' OR (released_by IS NOT NULL AND released_at IS NOT NULL)",
            name=op.f("ck_grade_released_by_a_person"),
        ),
        sa.CheckConstraint(
            "state IN ('NOT_MARKED', 'IN_MARKING', 'MARKED', 'IN_REVIEW', 'READY_FOR_RELEASE', 'RELEASED', 'HIDDEN', 'REOPENED')",
            name=op.f("ck_grade_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name=op.f("fk_grade_organization_id_assignment_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_grade_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "student_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_grade_organization_id_student_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "submission_id"],
            ["submission.organization_id", "submission.id"],
            name=op.f("fk_grade_organization_id_submission_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grade")),
        sa.UniqueConstraint(
            "assignment_id", "student_id", name=op.f("uq_grade_assignment_id_student_id")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_grade_organization_id_id")),
        sa.UniqueConstraint("submission_id", name=op.f("uq_grade_submission_id")),
    )
    op.create_table(
        "question",
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
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("reference_answer", sa.String(), nullable=True),
        sa.Column("rubric_version_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("points > 0", name=op.f("ck_question_points")),
        sa.ForeignKeyConstraint(
            ["organization_id", "assignment_id"],
            ["assignment.organization_id", "assignment.id"],
            name=op.f("fk_question_organization_id_assignment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "rubric_version_id"],
            ["rubric_version.organization_id", "rubric_version.id"],
            name=op.f("fk_question_organization_id_rubric_version_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_question")),
        sa.UniqueConstraint(
            "assignment_id", "position", name=op.f("uq_question_assignment_id_position")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_question_organization_id_id")),
    )
    op.create_table(
        "anchor_paper",
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
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("marks", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "question_id"],
            ["question.organization_id", "question.id"],
            name=op.f("fk_anchor_paper_organization_id_question_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anchor_paper")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_anchor_paper_organization_id_id")
        ),
    )
    op.create_table(
        "citation",
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
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("chunk_id", sa.Uuid(), nullable=False),
        sa.Column("claim_start", sa.Integer(), nullable=False),
        sa.Column("claim_end", sa.Integer(), nullable=False),
        sa.Column("quote", sa.String(), nullable=False),
        sa.Column("quote_start", sa.Integer(), nullable=False),
        sa.Column("quote_end", sa.Integer(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "claim_start < claim_end AND quote_start < quote_end", name=op.f("ck_citation_spans")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "chunk_id"],
            ["chunk.organization_id", "chunk.id"],
            name=op.f("fk_citation_organization_id_chunk_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "message_id"],
            ["message.organization_id", "message.id"],
            name=op.f("fk_citation_organization_id_message_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_citation")),
        sa.UniqueConstraint("message_id", "ordinal", name=op.f("uq_citation_message_id_ordinal")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_citation_organization_id_id")),
    )
    op.create_table(
        "grading_task",
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
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("failure", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("not_before", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("lease_owner", sa.Uuid(), nullable=True),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('PENDING', 'PREPARING', 'GRADING', 'CROSS_CHECKING', 'ARBITRATING', 'PROPOSED', 'NEEDS_HUMAN', 'FAILED_RETRYABLE', 'FAILED', 'SKIPPED', 'CANCELLED')",
            name=op.f("ck_grading_task_state"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["attempt.organization_id", "attempt.id"],
            name=op.f("fk_grading_task_organization_id_attempt_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "run_id"],
            ["grading_run.organization_id", "grading_run.id"],
            name=op.f("fk_grading_task_organization_id_run_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "submission_id"],
            ["submission.organization_id", "submission.id"],
            name=op.f("fk_grading_task_organization_id_submission_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grading_task")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_grading_task_organization_id_id")
        ),
        sa.UniqueConstraint("run_id", "attempt_id", name=op.f("uq_grading_task_run_id_attempt_id")),
    )
    op.create_index("ix_grading_task_run_state", "grading_task", ["run_id", "state"], unique=False)
    op.create_index("ix_grading_task_submission", "grading_task", ["submission_id"], unique=False)
    op.create_table(
        "level",
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
        sa.Column("criterion_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("min_points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("max_points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.CheckConstraint(
            "0 <= min_points AND min_points <= max_points", name=op.f("ck_level_range")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "criterion_id"],
            ["criterion.organization_id", "criterion.id"],
            name=op.f("fk_level_organization_id_criterion_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_level")),
        sa.UniqueConstraint(
            "criterion_id", "position", name=op.f("uq_level_criterion_id_position")
        ),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_level_organization_id_id")),
    )
    op.create_table(
        "question_response",
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
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "attempt_id"],
            ["attempt.organization_id", "attempt.id"],
            name=op.f("fk_question_response_organization_id_attempt_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "question_id"],
            ["question.organization_id", "question.id"],
            name=op.f("fk_question_response_organization_id_question_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_question_response")),
        sa.UniqueConstraint(
            "attempt_id", "question_id", name=op.f("uq_question_response_attempt_id_question_id")
        ),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_question_response_organization_id_id")
        ),
    )
    op.create_table(
        "assessment",
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
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("assessor", sa.String(), nullable=False),
        sa.Column("assessor_id", sa.Uuid(), nullable=True),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("prompt_version", sa.String(), nullable=False),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "assessor IN ('AI', 'HUMAN', 'PEER', 'SELF')", name=op.f("ck_assessment_assessor")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "assessor_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_assessment_organization_id_assessor_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "course_id"],
            ["course.organization_id", "course.id"],
            name=op.f("fk_assessment_organization_id_course_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "question_id"],
            ["question.organization_id", "question.id"],
            name=op.f("fk_assessment_organization_id_question_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "submission_id"],
            ["submission.organization_id", "submission.id"],
            name=op.f("fk_assessment_organization_id_submission_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["grading_task.organization_id", "grading_task.id"],
            name=op.f("fk_assessment_organization_id_task_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assessment")),
        sa.UniqueConstraint("organization_id", "id", name=op.f("uq_assessment_organization_id_id")),
    )
    op.create_index("ix_assessment_submission", "assessment", ["submission_id"], unique=False)
    op.create_index(
        "uq_assessment_slot",
        "assessment",
        ["task_id", "generation", "question_id", "slot"],
        unique=True,
        postgresql_where="assessor = 'AI'",
    )
    op.create_table(
        "grade_version",
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
        sa.Column("grade_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("score", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("penalty", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_by_user_id", sa.Uuid(), nullable=True),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("feedback", sa.String(), nullable=False),
        sa.Column("ledger_hash", sa.String(), nullable=False),
        sa.CheckConstraint(
            "(decided_by = 'HUMAN') = (decided_by_user_id IS NOT NULL)",
            name=op.f("ck_grade_version_human_is_named"),
        ),
        sa.CheckConstraint(
            "decided_by IN ('AI', 'HUMAN')", name=op.f("ck_grade_version_decided_by")
        ),
        sa.CheckConstraint(
            "score >= 0 AND penalty >= 0 AND penalty <= score", name=op.f("ck_grade_version_score")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "decided_by_user_id"],
            ["users.organization_id", "users.id"],
            name=op.f("fk_grade_version_organization_id_decided_by_user_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "grade_id"],
            ["grade.organization_id", "grade.id"],
            name=op.f("fk_grade_version_organization_id_grade_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "task_id"],
            ["grading_task.organization_id", "grading_task.id"],
            name=op.f("fk_grade_version_organization_id_task_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grade_version")),
        sa.UniqueConstraint("grade_id", "number", name=op.f("uq_grade_version_grade_id_number")),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_grade_version_organization_id_id")
        ),
    )
    op.create_index(
        "uq_grade_version_current",
        "grade_version",
        ["grade_id"],
        unique=True,
        postgresql_where="is_current",
    )
    op.create_table(
        "criterion_assessment",
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
        sa.Column("assessment_id", sa.Uuid(), nullable=False),
        sa.Column("criterion_id", sa.Uuid(), nullable=False),
        sa.Column("level_id", sa.Uuid(), nullable=True),
        sa.Column("points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("rationale", sa.String(), nullable=False),
        sa.CheckConstraint(
            "confidence BETWEEN 0 AND 1", name=op.f("ck_criterion_assessment_confidence")
        ),
        sa.CheckConstraint("points >= 0", name=op.f("ck_criterion_assessment_points")),
        sa.ForeignKeyConstraint(
            ["organization_id", "assessment_id"],
            ["assessment.organization_id", "assessment.id"],
            name=op.f("fk_criterion_assessment_organization_id_assessment_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "criterion_id"],
            ["criterion.organization_id", "criterion.id"],
            name=op.f("fk_criterion_assessment_organization_id_criterion_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "level_id"],
            ["level.organization_id", "level.id"],
            name=op.f("fk_criterion_assessment_organization_id_level_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criterion_assessment")),
        sa.UniqueConstraint(
            "assessment_id",
            "criterion_id",
            name=op.f("uq_criterion_assessment_assessment_id_criterion_id"),
        ),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_criterion_assessment_organization_id_id")
        ),
    )
    op.create_table(
        "criterion_score",
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
        sa.Column("grade_version_id", sa.Uuid(), nullable=False),
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("criterion_id", sa.Uuid(), nullable=False),
        sa.Column("level_id", sa.Uuid(), nullable=True),
        sa.Column("points", sa.Numeric(precision=9, scale=3), nullable=False),
        sa.Column("rationale", sa.String(), nullable=False),
        sa.CheckConstraint("points >= 0", name=op.f("ck_criterion_score_points")),
        sa.ForeignKeyConstraint(
            ["organization_id", "criterion_id"],
            ["criterion.organization_id", "criterion.id"],
            name=op.f("fk_criterion_score_organization_id_criterion_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "grade_version_id"],
            ["grade_version.organization_id", "grade_version.id"],
            name=op.f("fk_criterion_score_organization_id_grade_version_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "level_id"],
            ["level.organization_id", "level.id"],
            name=op.f("fk_criterion_score_organization_id_level_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "question_id"],
            ["question.organization_id", "question.id"],
            name=op.f("fk_criterion_score_organization_id_question_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_criterion_score")),
        sa.UniqueConstraint(
            "grade_version_id",
            "question_id",
            "criterion_id",
            name=op.f("uq_criterion_score_grade_version_id_question_id_criterion_id"),
        ),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_criterion_score_organization_id_id")
        ),
    )
    op.create_table(
        "evidence_span",
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
        sa.Column("criterion_assessment_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("quote", sa.String(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            'NOT verified OR (0 <= "start" AND "start" < "end")', name=op.f("ck_evidence_span_span")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "criterion_assessment_id"],
            ["criterion_assessment.organization_id", "criterion_assessment.id"],
            name=op.f("fk_evidence_span_organization_id_criterion_assessment_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence_span")),
        sa.UniqueConstraint(
            "criterion_assessment_id",
            "position",
            name=op.f("uq_evidence_span_criterion_assessment_id_position"),
        ),
        sa.UniqueConstraint(
            "organization_id", "id", name=op.f("uq_evidence_span_organization_id_id")
        ),
    )
    op.create_index("ix_citation_chunk", "citation", ["organization_id", "chunk_id"])
    op.create_index("ix_chunk_document", "chunk", ["organization_id", "document_id"])
    op.execute(TOUCH)
    for table in TABLES:
        if table != "stream_event":
            op.execute(
                f"CREATE TRIGGER touch_{table} BEFORE UPDATE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION touch_updated_at()"
            )
    op.execute(PUBLISHED_RUBRICS)
    for table in ("criterion", "level"):
        op.execute(
            f"CREATE TRIGGER published_{table} BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change_of_published_rubric()"
        )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.execute(f"DROP TABLE {table} CASCADE")
    op.execute("DROP FUNCTION refuse_change_of_published_rubric()")
    op.execute("DROP FUNCTION touch_updated_at()")
