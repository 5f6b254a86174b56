"""One try at one answer: what the study team writes to, under the lease of its message."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agents.ports import Paid, Passage, WebPage
from agents.study.outcome import Citation, GuardedWork, StudyOutcome, StudyState
from persistence import (
    assignments,
    ledger,
    streams,
    study_memory,
    study_steps,
    study_work,
)
from persistence.bus import answer_topic, publish_answer
from persistence.database import Connection, Duplicate, add
from persistence.ledger import Call
from persistence.lifecycle.machine import InvalidTransition
from persistence.lifecycle.study import MESSAGE, MessageEvent, MessageState
from persistence.study_steps import NewStep
from persistence.study_work import Asked
from persistence.tables.study import (
    AgentStepKind,
    CitationRow,
    MemoryFactRow,
)
from persistence.tables.web import WebSourceRow
from resolvers.study import enqueue_answer
from resolvers.study_memory import LONGEST_FACT, MOST_FACTS
from resolvers.work import WorkResources

LEDGER_GENERATION = 1
"""A takeover and a revision begin the text anew, but pay for no committed call again."""

MOST_PROPOSALS = 3
"""Facts one answer may propose to remember."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ENDS = {
    StudyState.COMPLETE: MessageEvent.COMPLETE,
    StudyState.ABSTAINED: MessageEvent.ABSTAIN,
}


class Answer:
    """The `Ledger`, `Stages`, `AnswerSink` and `Steps` of one try.

    Every write checks the fence: each method raises `LeaseLost` once somebody else has the
    message, and `Conflict` when it is no longer in the state this try knows.
    """

    def __init__(
        self, resources: WorkResources, message_id: UUID, fence: int, asked: Asked
    ) -> None:
        self._resources, self._id, self._fence, self._asked = resources, message_id, fence, asked
        self._state = MessageState.PLANNING
        self._generation = asked.generation
        self._text = ""
        self._flushed = ""
        self._writing = asyncio.Lock()
        self._counted: Counter[str] = Counter()
        self._recorded: set[str] = set()
        self._steps: list[NewStep] = []
        self._stepped = asyncio.Event()

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        """See `agents.ports.Ledger`. In a first try, what this did not record is not there."""
        if self._asked.tries == 1 and step_key not in self._recorded:
            return None
        async with self._resources.database.read() as connection:
            return await ledger.recall(
                connection, self._id, LEDGER_GENERATION, step_key, request_hash
            )

    async def record(self, step_key: str, paid: Paid) -> None:
        """See `agents.ports.Ledger`. What was paid is kept, whoever holds the lease."""
        self._recorded.add(step_key)
        call = self._resources.call(replace(paid, response=storable(paid.response)))
        async with self._writing, self._resources.database.transaction() as connection:
            kept = await study_work.lock(connection, self._id)
            await ledger.record(
                connection,
                organization_id=self._asked.organization_id,
                owner_id=self._id,
                generation=LEDGER_GENERATION,
                step_key=step_key,
                call=call if kept else replace(call, response=""),
            )
            if kept and _paid(call):
                await study_steps.add_steps(connection, self._id, [_spent(step_key, call)])
        await streams.announce(self._resources.bus)
        self._resources.count(paid)

    async def entered(self, stage: str) -> None:
        """See `agents.ports.Stages`. `stage` is a `MessageState`. Raises `InvalidTransition`."""
        target = MessageState(stage)
        async with self._writing:
            if target == self._state:
                return
            if all(MESSAGE.table.get((self._state, event)) != target for event in MessageEvent):
                raise InvalidTransition(MESSAGE.name, self._state, stage)
            await self._tell(target)

    async def write(self, offset: int, text: str) -> None:
        """See `agents.ports.AnswerSink`. Travels on the bus at once, to the row with `flush`."""
        text = storable(text)
        if offset > len(self._text):
            raise ValueError(f"text at {offset} after {len(self._text)} code points")
        self._text = self._text[:offset] + text + self._text[offset + len(text) :]
        await publish_answer(
            self._resources.bus, self._id, generation=self._generation, offset=offset, text=text
        )

    async def reset(self, generation: int) -> None:  # noqa: ARG002 - the row's own is one ahead
        """See `agents.ports.AnswerSink`. A text that was begun is void under a new generation."""
        if not self._text:
            return
        async with self._writing:
            values = {"generation": self._generation + 1, "text": ""}
            async with self._resources.database.statement() as connection:
                await study_work.write(connection, self._id, self._fence, self._state, values)
            self._generation += 1
            self._text = self._flushed = ""
        await self._resources.bus.publish(
            answer_topic(self._id), {"generation": self._generation, "offset": 0, "text": ""}
        )

    async def flush(self) -> None:
        """Brings the row's text up to what was written."""
        async with self._writing:
            text = self._text
            if text == self._flushed:
                return
            async with self._resources.database.statement() as connection:
                await study_work.write(
                    connection, self._id, self._fence, self._state, {"text": text}
                )
            self._flushed = text

    def happened(self, kind: str, detail: dict[str, Any]) -> None:
        """See `agents.ports.Steps`. Written by `tell_steps`, or with the next state."""
        self._steps.append(self._numbered(kind, detail, self._counted))
        self._stepped.set()

    async def tell_steps(self) -> None:
        """Waits for steps and writes them as they come, until cancelled or refused."""
        while True:
            await self._stepped.wait()
            self._stepped.clear()
            async with self._writing:
                if self._steps:
                    await self._tell()

    async def _tell(self, becomes: MessageState | None = None) -> None:
        """Writes the steps that wait, and the state that is entered."""
        steps = tuple(self._steps)
        told = (self._id, self._fence, self._state, steps, becomes)
        try:
            async with self._resources.database.statement() as connection:
                await study_steps.tell(connection, *told)
        except Duplicate:  # who held the lease before recorded a call at this moment
            async with self._resources.database.transaction() as connection:
                await study_work.hold(connection, self._id, self._fence, self._state)
                await study_steps.tell(connection, *told)
        self._state = becomes or self._state
        del self._steps[: len(steps)]
        await streams.announce(self._resources.bus)

    @staticmethod
    def _numbered(kind: str, detail: dict[str, Any], counted: Counter[str]) -> NewStep:
        key = f"{kind}:{counted[kind]}"
        counted[kind] += 1
        return NewStep(key, kind, _storable_json(detail))

    async def renew(self) -> bool:
        """Extends the lease; False when it is lost."""
        return await self._resources.message_leases.renew(self._id, self._fence)

    async def finish(self, outcome: StudyOutcome) -> None:
        """Writes the answer with all that carries it, in one transaction."""
        text = storable(outcome.text)
        values = {
            "text": text,
            "route": outcome.route,
            # a client that has other text than this must be told to begin again
            "generation": self._generation + (not text.startswith(self._text)),
        }
        counted: Counter[str] = Counter()
        steps = [self._numbered(step.kind, step.detail, counted) for step in outcome.steps]
        pages = self._pages(outcome.citations)
        async with self._writing:
            self._steps = steps
            await self._end(
                _ENDS[outcome.state],
                values,
                cited=_cited(outcome.citations, self._asked.organization_id, self._id, pages),
                pages=list(pages.values()),
                remember=outcome.remember,
                guarded=outcome.guarded,
            )

    def _pages(self, found: Sequence[Citation]) -> dict[str, WebSourceRow]:
        """By address, the pages that are cited."""
        sources = [one.source for one in found if isinstance(one.source, WebPage)]
        return {
            page.url: WebSourceRow(
                organization_id=self._asked.organization_id,
                message_id=self._id,
                url=storable(page.url),
                title=storable(page.title),
                extract=storable(page.text),
                fetched_at=datetime.fromisoformat(page.fetched_at),
            )
            for page in sources
        }

    async def fail(self, code: str, message: str) -> None:
        """Ends the message without an answer."""
        async with self._writing:
            await self._end(
                MessageEvent.FAIL,
                {"failure": {"code": code, "message": message}},
            )

    async def hand_back(self, delay: timedelta) -> None:
        """Ends this try: the message is QUEUED, its text void, to be tried after `delay`."""
        async with self._writing, self._resources.database.transaction() as connection:
            await study_work.hold(connection, self._id, self._fence, self._state)
            await study_steps.add_steps(connection, self._id, self._steps)
            await study_work.hand_back(connection, self._id, self._fence, self._state)
            await self._announce(connection, MessageState.QUEUED)
            await enqueue_answer(connection, self._id, self._fence, delay)
        await streams.announce(self._resources.bus)

    async def _end(
        self,
        event: MessageEvent,
        values: Mapping[str, Any],
        *,
        cited: Sequence[CitationRow] = (),
        pages: Sequence[WebSourceRow] = (),
        remember: Sequence[str] = (),
        guarded: GuardedWork | None = None,
    ) -> None:
        target = MESSAGE.advance(self._state, event)
        written = {**values, "state": target}
        steps = tuple(self._steps)
        async with self._resources.database.transaction() as connection:
            await study_work.hold(connection, self._id, self._fence, self._state)
            await study_steps.add_steps(connection, self._id, steps)
            if remember:
                await self._propose(connection, remember)
            await study_work.finish(
                connection, self._id, self._fence, self._state, written, cited, pages
            )
            if guarded is not None:
                await assignments.count_guarded(
                    connection,
                    self._asked.organization_id,
                    UUID(guarded.assignment_id),
                    guarded.guarding,
                )
            await self._announce(connection, target)
        self._state = target
        del self._steps[: len(steps)]
        await streams.announce(self._resources.bus)

    async def _propose(self, connection: Connection, found: Sequence[str]) -> None:
        """Facts for the student to accept or not; none that is known, and not without bound."""
        user_id = self._asked.user_id
        known = {text.casefold() for text in await study_memory.known_texts(connection, user_id)}
        lines = (" ".join(storable(text).split())[:LONGEST_FACT] for text in found)
        new = [one for one in dict.fromkeys(lines) if one and one.casefold() not in known]
        room = max(0, min(MOST_PROPOSALS, MOST_FACTS - len(known)))
        await add(
            connection,
            *(
                MemoryFactRow(
                    organization_id=self._asked.organization_id,
                    user_id=user_id,
                    course_id=self._asked.course_id,
                    text=one,
                )
                for one in new[:room]
            ),
        )

    async def _announce(self, connection: Connection, state: MessageState) -> None:
        await study_steps.announce(
            connection,
            self._asked.organization_id,
            self._asked.session_id,
            self._id,
            state,
        )


def _paid(call: Call) -> bool:
    return bool(call.input_tokens or call.output_tokens or call.cost_micros)


def _spent(step_key: str, call: Call) -> NewStep:
    detail = {
        "step": step_key,
        "provider": call.provider,
        "model": call.model,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cost_micros": call.cost_micros,
    }
    key = f"{AgentStepKind.SPENT}:{step_key}:{call.request_hash[:16]}"
    return NewStep(key, AgentStepKind.SPENT, detail)


def _cited(
    found: Sequence[Citation],
    organization_id: UUID,
    message_id: UUID,
    pages: Mapping[str, WebSourceRow],
) -> list[CitationRow]:
    """Citations that have a place in their source; those without one stand in the team's steps."""
    rows: list[CitationRow] = []
    for one in found:
        if one.quote_start is None or one.quote_end is None:
            continue
        source = one.source
        rows.append(
            CitationRow(
                organization_id=organization_id,
                message_id=message_id,
                ordinal=len(rows),
                chunk_id=UUID(source.chunk_id) if isinstance(source, Passage) else None,
                web_source_id=pages[source.url].id if isinstance(source, WebPage) else None,
                claim_start=one.claim_start,
                claim_end=one.claim_end,
                quote=storable(one.quote),
                quote_start=one.quote_start,
                quote_end=one.quote_end,
                verified=one.verified,
            )
        )
    return rows


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot store (NUL, lone surrogates) as U+FFFD, one for one."""
    return _UNSTORABLE.sub("\ufffd", text)


def _storable_json(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(k): _storable_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_storable_json(v) for v in value]
    return value
