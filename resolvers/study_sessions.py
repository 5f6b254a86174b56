"""Study sessions, as their owner opens, names, archives, shares and deletes them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from persistence import courses, study, study_sessions
from persistence.database import add
from persistence.followers import RIGHTS_TOPIC
from persistence.tables.study import StudySessionRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import global_id, key_of
from resolvers.mutations import Transaction
from resolvers.refusals import Refusal, RefusalCode
from resolvers.study import cancel_topic

MOST_SESSIONS = 500
_SESSION = ("input", "sessionId")


async def create_study_session(
    context: RequestContext, transaction: Transaction, *, course_id: str, title: str | None
) -> UUID:
    """Opens a conversation with the tutor of a course."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.STUDY_ASK, course)
    connection = transaction.connection
    rows = await courses.courses_by_id(connection, viewer, [course])
    if not rows:
        raise missing("course", ("input", "courseId"))
    if await study_sessions.count_sessions(connection, viewer.user_id) >= MOST_SESSIONS:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"You have {MOST_SESSIONS} study sessions, the most one may have. Delete one first.",
        )
    session = StudySessionRow(
        organization_id=viewer.organization_id,
        course_id=course,
        user_id=viewer.user_id,
        title=rows[0].title if title is None else checks.line(title, "title"),
    )
    await add(connection, session)
    return session.id


async def update_study_session(
    context: RequestContext,
    transaction: Transaction,
    *,
    session_id: str,
    title: str | None,
    archived: bool | None,
) -> UUID:
    """Names a session, archives it or takes it back."""
    session = await _own(context, transaction, session_id)
    values: dict[str, object] = {}
    if title is not None:
        values["title"] = checks.line(title, "title")
    if archived is not None and archived != (session.archived_at is not None):
        values["archived_at"] = context.now() if archived else None
    if values:
        await study_sessions.set_values(transaction.connection, session.id, **values)
    return session.id


async def share_study_session(
    context: RequestContext, transaction: Transaction, *, session_id: str, until: datetime | None
) -> UUID:
    """Lets the instructors of the course read a session, until then or until it is unshared."""
    end = checks.moment(until, "until")
    if end is not None and end <= context.now():
        raise checks.bad("until", "until lies in the future; leave it out to share without an end.")
    session = await _own(context, transaction, session_id)
    await study_sessions.share(transaction.connection, session.id, end)
    return session.id


async def unshare_study_session(
    context: RequestContext, transaction: Transaction, *, session_id: str
) -> UUID:
    """Ends a share, also for instructors who follow the session now."""
    session = await _own(context, transaction, session_id)
    await study_sessions.set_values(
        transaction.connection, session.id, shared_at=None, shared_until=None
    )
    transaction.hint(RIGHTS_TOPIC)
    return session.id


async def delete_study_session(
    context: RequestContext, transaction: Transaction, *, session_id: str
) -> UUID:
    """Deletes a session and all that is in it; an answer being written is stopped."""
    session = await _own(context, transaction, session_id)
    for reply_id in await study_sessions.open_replies(transaction.connection, session.id):
        transaction.hint(cancel_topic(reply_id))
    await study_sessions.delete_session(transaction.connection, session.id)
    transaction.hint(RIGHTS_TOPIC)
    return session.id


async def name_deleted(_context: RequestContext, ids: Sequence[UUID]) -> list[str]:
    """The ids by which clients knew sessions that are gone."""
    return [global_id("StudySession", key) for key in ids]


async def _own(
    context: RequestContext, transaction: Transaction, session_id: str
) -> StudySessionRow:
    """The viewer's own session, locked. Raises `Refusal`."""
    key = key_of(session_id, "StudySession", _SESSION)
    session = await study.lock_session(transaction.connection, context.viewer, key)
    if session is None:
        raise missing("study session", _SESSION)
    context.note_own(Permission.STUDY_ASK)
    context.course_ids.add(session.course_id)
    return session
