"""The worker's side of study: answers questions under a lease, and heals what is left behind."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from agents.cancellation import CancellationToken
from agents.grading.naming import Identity
from agents.grading.redaction import redact
from agents.models.failures import FailureKind, ModelFailure
from agents.models.ports import Purse
from agents.ports import Account, AgentCancelled, AgentFailure
from agents.study.brief import AiPolicy, OpenAssignment, StudyBrief
from agents.study.outcome import StudyOutcome
from persistence import (
    model_choices,
    reservations,
    streams,
    study_history,
    study_memory,
    study_steps,
    study_work,
    users,
)
from persistence.database import Conflict, Connection
from persistence.leases import LeaseLost
from persistence.lifecycle.study import MessageState
from persistence.study_work import Asked, OpenWork
from resolvers import web
from resolvers.retrieval import CourseSearch
from resolvers.study import cancel_topic, enqueue_answer
from resolvers.study_answer import Answer
from resolvers.study_history import Conversation, bounded, conversation
from resolvers.work import WorkResources

logger = logging.getLogger(__name__)

MOST_TRIES = 3
FLUSH_SECONDS = 0.5
CANCEL_POLL_SECONDS = 1.5
WAITING_FOR = timedelta(seconds=10)
_FACTS = 50
_SWEPT = 100


async def answer_message(resources: WorkResources, message_id: UUID) -> None:
    """Answers the question a QUEUED reply belongs to; does nothing when it is not QUEUED.

    A failure that may pass is tried again, three times in all. No connection is held while the
    team works.
    """
    async with resources.database.transaction() as connection:
        fence = await study_work.claim(
            connection, message_id, resources.worker_id, resources.lease_seconds
        )
        if fence is None:
            return
        asked = await study_work.asked(connection, message_id)
        account = Account(
            asked.organization_id,
            asked.course_id,
            message_id,
            asked.user_id,
            await model_choices.choices_of(connection, asked.organization_id, asked.course_id),
        )
        earlier = await _earlier(connection, asked)
        brief = await _brief(connection, asked)
        await study_steps.announce(
            connection,
            asked.organization_id,
            asked.session_id,
            message_id,
            MessageState.PLANNING,
        )
    await streams.announce(resources.bus)
    answer = Answer(resources, message_id, fence, asked)
    try:
        async with _held(resources, answer, message_id) as cancellation:
            if resources.asks_a_provider(account):
                earlier, brief = await _redacted(resources, asked, earlier, brief)
            told = await bounded(
                earlier,
                asked.language,
                database=resources.database,
                ledger=answer,
                summariser=resources.summariser(account),
                cancellation=cancellation,
            )
            brief = replace(brief, history=told.turns)
            outcome = await _ask_team(resources, answer, asked, account, brief, cancellation)
            await answer.finish(outcome)
    except (LeaseLost, Conflict, AgentCancelled):
        logger.info("message %s: cancelled or taken over", message_id)
    except Exception as error:  # noqa: BLE001 - whatever a member does wrong ends this try only
        await _end_try(answer, message_id, asked.tries, error)


async def _ask_team(
    resources: WorkResources,
    answer: Answer,
    asked: Asked,
    account: Account,
    brief: StudyBrief,
    cancellation: CancellationToken,
) -> StudyOutcome:
    search = CourseSearch(
        resources.database,
        resources.embedders,
        asked.organization_id,
        asked.course_id,
        resources.metrics,
    )
    return await resources.study_team(search, account).answer(
        brief,
        generation=asked.generation,
        ledger=answer,
        stages=answer,
        sink=answer,
        cancellation=cancellation,
        steps=answer,
        web=await web.search_for(resources, asked.organization_id, asked.course_id, asked.user_id),
    )


@asynccontextmanager
async def _held(
    resources: WorkResources, answer: Answer, message_id: UUID
) -> AsyncIterator[CancellationToken]:
    """The team's token, cancelled once the lease is lost or the student cancels.

    Meanwhile the lease is renewed and the text flushed.
    """
    cancellation = CancellationToken()
    background = [
        asyncio.create_task(_keep_lease(resources, answer, message_id, cancellation)),
        asyncio.create_task(_keep_flushed(answer, cancellation)),
        asyncio.create_task(_keep_told(answer, cancellation)),
    ]
    try:
        yield cancellation
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _keep_lease(
    resources: WorkResources, answer: Answer, message_id: UUID, cancellation: CancellationToken
) -> None:
    """Renews when hinted at a cancel, which ends the lease, and often enough without hints."""
    held = True
    with resources.bus.subscribe(cancel_topic(message_id)) as hints:
        while held:
            await hints.wake(min(resources.lease_seconds / 3, CANCEL_POLL_SECONDS))
            try:
                held = await answer.renew()
            except Exception as error:  # noqa: BLE001 - the next round tries again
                logger.warning("a lease was not renewed: %s", type(error).__name__)
    cancellation.cancel()


async def _keep_flushed(answer: Answer, cancellation: CancellationToken) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            await answer.flush()
        except (LeaseLost, Conflict):
            cancellation.cancel()
            return
        except Exception as error:  # noqa: BLE001 - the text is still here; the next flush has it
            logger.warning("an answer was not flushed: %s", type(error).__name__)


async def _keep_told(answer: Answer, cancellation: CancellationToken) -> None:
    while True:
        try:
            await answer.tell_steps()
        except (LeaseLost, Conflict):
            cancellation.cancel()
            return
        except Exception as error:  # noqa: BLE001 - the steps are still here; the next state has them
            logger.warning("steps were not told: %s", type(error).__name__)


async def _earlier(connection: Connection, asked: Asked) -> Conversation:
    if asked.follows_id is None:
        return Conversation("", ())
    return conversation(await study_history.branch_above(connection, asked.follows_id))


async def _brief(connection: Connection, asked: Asked) -> StudyBrief:
    facts = await study_memory.facts_for_tutor(connection, asked.user_id, asked.course_id, _FACTS)
    work = await study_work.open_work(connection, asked.course_id, asked.user_id)
    return StudyBrief(
        question=asked.question,
        open_assignments=tuple(
            OpenAssignment(
                id=str(one.id),
                title=one.title,
                prompt="\n\n".join(filter(None, [one.instructions, *(one.prompts or ())])),
                ai_policy=AiPolicy(one.ai_policy),
                guarded=_guarded(one),
            )
            for one in work
        ),
        language=asked.language,
        facts=tuple(fact.text for fact in facts),
    )


def _guarded(work: OpenWork) -> tuple[str, ...]:
    """What questions are compared with besides the prompts, each text once."""
    texts = (*(work.references or ()), *(work.criteria or ()), *(work.levels or ()))
    return tuple(dict.fromkeys(text for text in texts if text and text.strip()))


async def _redacted(
    resources: WorkResources, asked: Asked, earlier: Conversation, brief: StudyBrief
) -> tuple[Conversation, StudyBrief]:
    """Both as a provider may read them: the student's words without who they are."""
    async with resources.database.read() as connection:
        (person,) = await users.users_of_organization(
            connection, asked.organization_id, [asked.user_id]
        )
    identity = Identity(person.name, person.email)

    def hidden(text: str) -> str:
        return redact(text, identity).text

    def redacted() -> tuple[Conversation, StudyBrief]:
        facts = tuple(hidden(fact) for fact in brief.facts)
        return (
            earlier.told_by(hidden),
            replace(brief, question=hidden(brief.question), facts=facts),
        )

    return await asyncio.to_thread(redacted)


async def _end_try(answer: Answer, message_id: UUID, tries: int, error: Exception) -> None:
    """Hands the message back after a failure that may pass; ends it FAILED after others.

    Logs where, not what: an exception's text may quote the student.
    """
    foreseen = isinstance(error, AgentFailure)
    step = error.step_key if isinstance(error, AgentFailure) else _place(error)
    logger.warning("message %s, try %d: %s at %s", message_id, tries, type(error).__name__, step)
    passing = error.retryable if isinstance(error, AgentFailure) else True
    try:
        if passing and tries < MOST_TRIES:
            await answer.hand_back(timedelta(seconds=2**tries))
        elif isinstance(error, ModelFailure) and error.kind is FailureKind.BUDGET:
            whose = "course" if error.purse is Purse.COURSE else "organization"
            await answer.fail(
                "BUDGET_EXHAUSTED",
                f"What this {whose} may spend on its tutor this month is used up. Tell its staff, "
                "and have the question answered anew once that is raised.",
            )
        elif foreseen:
            await answer.fail(
                "TUTOR_UNAVAILABLE", "The tutor could not be reached. Ask again in a few minutes."
            )
        else:
            await answer.fail(
                "INTERNAL", "Something went wrong on our side. Ask again; nothing of yours is lost."
            )
    except (LeaseLost, Conflict):
        logger.info("message %s: cancelled or taken over", message_id)


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"


async def sweep_messages(resources: WorkResources, *, waiting_for: timedelta = WAITING_FOR) -> None:
    """Heals what dead workers left: an answer nobody writes, a question nobody was told of."""
    async with resources.database.transaction() as connection:
        taken = await study_work.take_over(connection, MOST_TRIES, _SWEPT)
        for message in taken:
            await study_steps.announce(
                connection,
                message.organization_id,
                message.session_id,
                message.id,
                MessageState(message.state),
            )
            if message.state == MessageState.QUEUED:
                await enqueue_answer(connection, message.id, message.fence)
        for message in await study_work.waiting(connection, waiting_for, _SWEPT):
            await enqueue_answer(connection, message.id, message.fence)
        await reservations.settle_taken_over(connection, [message.id for message in taken])
    if taken:
        await streams.announce(resources.bus)
