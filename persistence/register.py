"""The register of stores: what each holds of a person, and what export and erasure do with it.

One list; a test fails when the database has a table that is not on it. A feature that stores
something adds its store here. `:person` is the person's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ERASED = "'Erased with the personal data of its person.'"

_SUBMISSIONS = "SELECT id FROM submission WHERE student_id = :person"
_ATTEMPTS = f"SELECT id FROM attempt WHERE submission_id IN ({_SUBMISSIONS})"
_TASKS = f"SELECT id FROM grading_task WHERE submission_id IN ({_SUBMISSIONS})"
_ASSESSMENTS = f"SELECT id FROM assessment WHERE submission_id IN ({_SUBMISSIONS})"
_JUDGEMENTS = f"SELECT id FROM criterion_assessment WHERE assessment_id IN ({_ASSESSMENTS})"
_GRADES = "SELECT id FROM grade WHERE student_id = :person"
_VERSIONS = f"SELECT id FROM grade_version WHERE grade_id IN ({_GRADES})"
_STUDY = "SELECT id FROM study_session WHERE user_id = :person"
_MESSAGES = f"SELECT id FROM message WHERE session_id IN ({_STUDY})"
_SESSIONS = "SELECT id FROM session WHERE user_id = :person"
_UPLOADS = "SELECT id FROM upload WHERE user_id = :person"
_UPLOADED = (
    "SELECT object_id FROM upload WHERE user_id = :person AND object_id IS NOT NULL "
    f"UNION ALL SELECT object_id FROM upload_part WHERE upload_id IN ({_UPLOADS})"
)
_RELEASED = "SELECT id FROM grade WHERE student_id = :person AND state = 'RELEASED'"
_SHOWN = f"SELECT id FROM grade_version WHERE is_current AND grade_id IN ({_RELEASED})"


@dataclass(frozen=True)
class Kept:
    """When rows of a table have been kept for long enough: deleted by `persistence.retention`.

    `days` is the column of `retention` that says how long; `due` a WHERE condition on `t` with
    `:before`, and `:floor`, the least time-ordered id of that moment; `first` statements that run
    before, for the rows' keys `:ids`.
    """

    days: str
    due: str
    key: str = "id"
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Store:
    """A table, or another place, and how it treats a person's data.

    `exported` and `erased` are a WHERE condition; `values` are SQL expressions the erased rows'
    columns are set to, None deletes the rows. `hidden` columns are left out of an export. `kept`
    is what the organization's retention does to old rows; None keeps them.
    """

    holds: str
    exported: str | None = None
    hidden: tuple[str, ...] = ()
    erased: str | None = None
    values: Mapping[str, str] | None = None
    kept: Kept | None = None


def _none(why: str) -> Store:
    return Store(f"Nothing of a person: {why}.")


TABLES: Mapping[str, Store] = {
    # In the order of erasure: what points at a row before the row.
    "stored_object": Store(
        "Sizes and keys of files in the object storage. Those of a person's unfinished uploads are "
        "given up, and deleted from the storage within seconds.",
        erased=f"id IN ({_UPLOADED})",
        values={"state": "'DOOMED'"},
    ),
    "citation": Store(
        "Passages quoted to a person.",
        exported=f"message_id IN ({_MESSAGES})",
        erased=f"message_id IN ({_MESSAGES})",
    ),
    "web_source": Store(
        "Pages of the web shown to a person.",
        exported=f"message_id IN ({_MESSAGES})",
        erased=f"message_id IN ({_MESSAGES})",
    ),
    "agent_step": Store(
        "How an answer to a person came to be.", erased=f"message_id IN ({_MESSAGES})"
    ),
    "model_call": Store(
        "What models answered about a person's work or questions, or read of course material. The "
        "hash of an answer stays, so that the ledger hash of a grade can still be computed.",
        erased=f"owner_id IN ({_TASKS}) OR owner_id IN ({_MESSAGES})",
        values={"response": "''"},
    ),
    "model_usage": Store(
        "When models were asked for a person, or for a document they handed in, by their id, with "
        "tokens and cost. Without their id once erased.",
        exported="user_id = :person",
        erased="user_id = :person",
        values={"user_id": "NULL"},
    ),
    "message": Store(
        "A person's questions and the answers.",
        exported=f"session_id IN ({_STUDY})",
        hidden=("lease_owner", "lease_until", "fence"),
        erased=f"session_id IN ({_STUDY})",
    ),
    "study_session": Store(
        "A person's conversations with the tutor.",
        exported="user_id = :person",
        erased="user_id = :person",
        kept=Kept(
            "study_session_days",
            "t.updated_at < :before AND NOT EXISTS (SELECT 1 FROM message m "
            "WHERE m.session_id = t.id AND m.updated_at >= :before)",
            first=(
                (
                    "UPDATE model_call SET response = '' WHERE owner_id IN "
                    "(SELECT id FROM message WHERE session_id = ANY(:ids))"
                ),
                "DELETE FROM stream_event WHERE stream_id = ANY(:ids)",
            ),
        ),
    ),
    "memory_fact": Store(
        "What a person lets the tutor remember of them. Nobody else reads it.",
        exported="user_id = :person",
        erased="user_id = :person",
    ),
    "evidence_span": Store(
        "Quotes of a person's work. Where they stood stays.",
        erased=f"criterion_assessment_id IN ({_JUDGEMENTS})",
        values={"quote": "''"},
    ),
    "criterion_assessment": Store(
        "What graders wrote about a person's work. The points stay.",
        erased=f"assessment_id IN ({_ASSESSMENTS})",
        values={"rationale": ERASED},
    ),
    "criterion_score": Store(
        "The decided points for a person's work, with reasons. The points stay.",
        exported=f"grade_version_id IN ({_SHOWN})",
        erased=f"grade_version_id IN ({_VERSIONS})",
        values={"rationale": ERASED},
    ),
    "grade_version": Store(
        "Decisions about a person's grade, with reasons. Score, decider and ledger hash stay.",
        exported=f"id IN ({_SHOWN})",
        hidden=("decided_by_user_id", "task_id"),
        erased=f"grade_id IN ({_GRADES})",
        values={"reason": ERASED, "feedback": "''"},
    ),
    "grade": Store(
        "Grades, by the person's id, which tells nobody anything afterwards. Exported once "
        "released.",
        exported=f"id IN ({_RELEASED})",
        hidden=("released_by",),
    ),
    "question_response": Store(
        "What a person handed in.",
        exported=f"attempt_id IN ({_ATTEMPTS})",
        erased=f"attempt_id IN ({_ATTEMPTS})",
        values={"text": "''"},
    ),
    "attempt": Store(
        "When a person handed in, and the digest of it.",
        exported=f"submission_id IN ({_SUBMISSIONS})",
        hidden=("submitted_by",),
        erased=f"submission_id IN ({_SUBMISSIONS})",
        values={"sha256": "repeat('0', 64)"},
    ),
    "submission": Store("That a person handed in.", exported="student_id = :person"),
    "grading_task": Store(
        "States and aliases of attempts; the reasons to look, which quote the text.",
        erased=f"submission_id IN ({_SUBMISSIONS})",
        values={"reasons": "'[]'", "failure": "NULL"},
    ),
    "assessment": _none("which grader looked at which attempt"),
    "invitation": Store(
        "That a person was asked to join a course, and the digest of the token.",
        exported="user_id = :person",
        hidden=("hash", "invited_by", "accepted_by"),
        erased="user_id = :person OR accepted_by = :person",
    ),
    "enrollment": Store(
        "The courses a person is of.",
        exported="user_id = :person",
        erased="user_id = :person",
        values={"state": "'REMOVED'"},
    ),
    "role_grant": Store(
        "The roles a person held, and why.",
        exported="user_id = :person",
        hidden=("granted_by",),
        erased="user_id = :person OR observed_student_id = :person",
        values={"reason": ERASED, "state": "'REVOKED'"},
    ),
    "marking_allocation": Store(
        "Whose work a person was given to mark, without the submission's id.",
        exported="user_id = :person",
        hidden=("submission_id", "allocated_by"),
        erased="user_id = :person",
        values={"state": "'WITHDRAWN'"},
    ),
    "break_glass": Store(
        "When a person opened a course in an emergency, and why.",
        exported="user_id = :person",
        hidden=("ended_by",),
        erased="user_id = :person",
        values={"reason": ERASED, "ended_at": "coalesce(ended_at, now())"},
    ),
    "external_identity": Store(
        "How providers know a person.", exported="user_id = :person", erased="user_id = :person"
    ),
    "refresh_token": Store("Digests of refresh tokens.", erased=f"session_id IN ({_SESSIONS})"),
    "session": Store(
        "When a person signed in.",
        exported="user_id = :person",
        erased="user_id = :person",
        kept=Kept("session_days", "least(t.expires_at, t.ended_at) < :before"),
    ),
    "password": Store("The hash of an admin's password.", erased="user_id = :person"),
    "api_token": Store(
        "Tokens a person made for services.",
        exported="user_id = :person",
        hidden=("hash",),
        erased="user_id = :person",
    ),
    "idempotency": Store(
        "Keys a person's apps chose.",
        erased="user_id = :person",
        kept=Kept("idempotency_days", "t.id < :floor"),
    ),
    "users": Store(
        "Name and e-mail address.",
        exported="id = :person",
        erased="id = :person",
        values={
            "name": "'Erased person'",
            "email": "'erased-' || id || '@erased.invalid'",
            "suspended": "true",
        },
    ),
    "personal_value": Store(
        "Texts of the audit log: what a person wrote, what was written about them alone, and what "
        "names them. Deleted by `persistence.privacy`; the chain holds commitments.",
        exported="event_id IN (SELECT id FROM audit_event WHERE actor_id = :person)",
        hidden=("salt",),
        kept=Kept("audit_value_days", "t.event_id < :floor", key="event_id"),
    ),
    "audit_event": Store(
        "What a person did, by their id. Never changed.",
        exported="actor_id = :person",
        hidden=("hash", "real_actor_id"),
    ),
    "document": Store(
        "Course material. Who uploaded it stays, by their id.", exported="uploaded_by = :person"
    ),
    "upload_part": Store(
        "Parts of a file a person is sending; deleted when it is whole, or expired.",
        erased=f"upload_id IN ({_UPLOADS})",
    ),
    "upload": Store(
        "Files a person is sending or has sent, by name; deleted a day after they were used or "
        "have expired.",
        exported="user_id = :person",
        hidden=("object_id",),
        erased="user_id = :person",
    ),
    "grading_run": _none("who started it, by their id"),
    "stream_event": Store(
        "Nothing of a person: ids and states. The last of a stream stays, from which it is "
        "numbered on.",
        kept=Kept(
            "stream_event_days",
            "t.at < :before AND t.seq < (SELECT max(l.seq) FROM stream_event l "
            "WHERE l.stream_id = t.stream_id) AND NOT EXISTS (SELECT 1 FROM grading_run r "
            "WHERE r.id = t.stream_id AND r.state NOT IN "
            "('CANCELLED', 'COMPLETED', 'COMPLETED_WITH_ERRORS', 'FAILED'))",
        ),
    ),
    "audit_chain": _none("numbers and hashes"),
    "organization": _none("names of organizations"),
    "custom_role": _none("names of roles and what they give"),
    "retention": _none("how long an organization keeps what may go"),
    "approved_provider": _none("who approved which provider, by their id"),
    "course": _none("course content"),
    "assignment": _none("course content"),
    "question": _none("course content"),
    "anchor_paper": _none("course content; whoever writes it leaves out whose it was"),
    "rubric": _none("course content"),
    "rubric_version": _none("course content"),
    "criterion": _none("course content"),
    "level": _none("course content"),
    "document_version": _none("course material; the originals lie in the object storage"),
    "document_fetch": _none("addresses of course material, until it has been fetched"),
    "chunk": _none("course material"),
    "chunk_embedding": _none("vectors of course material"),
    "embedding_index": _none("names of models"),
    "embedding_cache": _none("vectors under digests of course material's passages"),
    "model_budget": _none("what courses may spend on models"),
    "model_spending": _none("what courses have spent on models"),
    "model_choice": _none("which models courses chose"),
    "web_policy": _none("which sites a course lets the tutor search"),
    "web_search_usage": _none("how often an organization searched the web on a day"),
    "guarded_question": _none("how often the tutor kept questions from an assignment"),
    "pgqueuer": _none("jobs, which carry ids"),
    "pgqueuer_log": _none("jobs that ended, without their payloads; kept for 7 days"),
    "pgqueuer_schedules": _none("not used"),
    "pgqueuer_statistics": _none("not used"),
    "alembic_version": _none("the version of the schema"),
}

ELSEWHERE: Mapping[str, Store] = {
    "cache": Store(
        "Vectors of search queries for a day, under digests of the queries: in the process, and in "
        "Redis where one is configured. No text. Pages found on the web for six hours, likewise "
        "under digests of the queries."
    ),
    "limits": Store(
        "How often models were asked lately, by organization: in the process, and in Redis where "
        "one is configured. No text."
    ),
    "object storage": Store(
        "Originals of course material, and parts of uploads under way, under keys that name "
        "nobody. Deleted within seconds after the row that points at them. A bucket that keeps "
        "versions of deleted objects needs a rule that ends them."
    ),
    "bus": Store("Hints with ids, and chunks of answers on their way to a reader. Not stored."),
    "logs": Store("Ids and states; neither texts nor names nor addresses."),
    "backups": Store(
        "What they held when they were made; erase again after restoring one. Deleted rows leave "
        "the data files with PostgreSQL's next VACUUM."
    ),
}
