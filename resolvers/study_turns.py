"""Turns of a study session: asked, asked again, branched and stopped by its owner alone."""

from uuid import UUID

from persistence import study, study_steps, study_tree
from persistence.lifecycle.study import MessageState
from persistence.tables.study import Author, MessageRow, StudySessionRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.refusals import Refusal, RefusalCode
from resolvers.study import cancel_topic, enqueue_answer

LONGEST_QUESTION = 8_000
MOST_MESSAGES = 2_000
MOST_BRANCHES = 50
_SESSION = ("input", "sessionId")
_MESSAGE = ("input", "messageId")
_PARENT = ("input", "parentId")


async def ask_question(
    context: RequestContext,
    transaction: Transaction,
    *,
    session_id: str,
    text: str,
    parent_id: str | None = None,
) -> UUID:
    """Asks; returns the reply, which is QUEUED. One question at a time in a session.

    The question follows `parent_id`, a reply; left out, the end of the active branch.
    """
    key = key_of(session_id, "StudySession", _SESSION)
    question = checks.prose(text, "text", least=1, most=LONGEST_QUESTION)
    session = await _locked(context, transaction, key, _SESSION)
    follows = session.active_leaf_id
    if parent_id is not None:
        follows = (await _reply(transaction, session, parent_id, _PARENT)).id
    await _has_room(transaction, session, follows, adding=2)
    reply = await study_tree.add_question(transaction.connection, session, follows, question)
    return await _begun(transaction, reply)


async def regenerate_message(
    context: RequestContext, transaction: Transaction, *, message_id: str
) -> UUID:
    """Has the question of a reply answered again, beside the reply; returns the new one."""
    session, reply = await _of_own_session(context, transaction, message_id)
    if reply.author != Author.TUTOR or reply.parent_id is None:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "Only a reply is made again. Edit the question instead.",
            _MESSAGE,
        )
    await _has_room(transaction, session, reply.parent_id, adding=1)
    again = await study_tree.add_reply(transaction.connection, session, reply.parent_id)
    return await _begun(transaction, again)


async def edit_question(
    context: RequestContext, transaction: Transaction, *, message_id: str, text: str
) -> UUID:
    """Asks in a question's place, on a branch of its own; returns the reply, which is QUEUED."""
    wording = checks.prose(text, "text", least=1, most=LONGEST_QUESTION)
    session, question = await _of_own_session(context, transaction, message_id)
    if question.author != Author.STUDENT:
        raise Refusal(
            RefusalCode.BAD_INPUT, "Only a question is edited. Regenerate the reply.", _MESSAGE
        )
    await _has_room(transaction, session, question.parent_id, adding=2)
    reply = await study_tree.add_question(
        transaction.connection, session, question.parent_id, wording
    )
    return await _begun(transaction, reply)


async def select_branch(
    context: RequestContext, transaction: Transaction, *, message_id: str
) -> UUID:
    """Shows the branch through a message, to its latest end; returns the session."""
    session, message = await _of_own_session(context, transaction, message_id, asking=False)
    leaf = await study_tree.latest_leaf(transaction.connection, message.id)
    await study_tree.show_branch(transaction.connection, session.id, leaf)
    return session.id


async def cancel_message(
    context: RequestContext, transaction: Transaction, *, message_id: str
) -> UUID:
    """Stops an answer that is still to come."""
    session, message = await _of_own_session(context, transaction, message_id, asking=False)
    connection = transaction.connection
    await study_tree.cancel(connection, message)
    await study_steps.announce(
        connection, session.organization_id, session.id, message.id, MessageState.CANCELLED
    )
    transaction.hint_stream()
    transaction.hint(cancel_topic(message.id))
    return message.id


async def _locked(
    context: RequestContext, transaction: Transaction, key: UUID, path: tuple[str, ...]
) -> StudySessionRow:
    """One's own session, to ask in. Raises `Refusal`."""
    session = await study.lock_session(transaction.connection, context.viewer, key)
    if session is None:
        raise missing("study session", path)
    context.require(Permission.STUDY_ASK, session.course_id)
    if session.archived_at is not None:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "This session is archived. Take it back with `updateStudySession`, then ask.",
            path,
        )
    return session


async def _of_own_session(
    context: RequestContext, transaction: Transaction, message_id: str, *, asking: bool = True
) -> tuple[StudySessionRow, MessageRow]:
    """A message of one's own session, which is locked. Raises `Refusal`."""
    key = key_of(message_id, "Message", _MESSAGE)
    connection = transaction.connection
    (found,) = await study.messages_by_id(connection, context.viewer, [key]) or (None,)
    session = (
        None
        if found is None
        else await study.lock_session(connection, context.viewer, found.session_id)
    )
    if found is None or session is None:
        raise missing("message", _MESSAGE)
    if asking:
        await _locked(context, transaction, session.id, _MESSAGE)
    else:
        context.note_own(Permission.STUDY_ASK)
    (message,) = await study.messages_by_id(connection, context.viewer, [key])
    return session, message


async def _reply(
    transaction: Transaction, session: StudySessionRow, message_id: str, path: tuple[str, ...]
) -> MessageRow:
    key = key_of(message_id, "Message", path)
    found = await study_tree.message_in(transaction.connection, session.id, key)
    if found is None:
        raise missing("message in this session", path)
    if found.author != Author.TUTOR:
        raise Refusal(RefusalCode.BAD_INPUT, "A question follows a reply: pass its id.", path)
    return found


async def _has_room(
    transaction: Transaction, session: StudySessionRow, parent_id: UUID | None, *, adding: int
) -> None:
    """Raises `Refusal` while a reply is still to come, and where a limit is reached."""
    room = await study_tree.room(transaction.connection, session.id, parent_id)
    if room.waits:
        raise Refusal(
            RefusalCode.INVALID_STATE,
            "The tutor is still answering the last question. Wait for it, or cancel it.",
            _SESSION if adding == 2 else _MESSAGE,
        )
    if room.messages + adding > MOST_MESSAGES:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"A study session has up to {MOST_MESSAGES} messages. Go on in a new session.",
        )
    if room.branches >= MOST_BRANCHES:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"Up to {MOST_BRANCHES} branches start at one message. Go on in one of them.",
        )


async def _begun(transaction: Transaction, reply: MessageRow) -> UUID:
    connection = transaction.connection
    await study_steps.announce(
        connection, reply.organization_id, reply.session_id, reply.id, MessageState.QUEUED
    )
    await enqueue_answer(connection, reply.id, reply.fence)
    transaction.hint_stream()
    return reply.id
