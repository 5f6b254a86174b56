"""One try at one answer: what the study team writes to, under the lease of its message."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from agents.ports import Passage, Usage, WebPage
from agents.study.outcome import Citation, GuardedWork, StudyOutcome, StudyState
from persistence import assignments, leases, ledger, streams, study_work
from persistence.bus import answer_topic, publish_answer
from persistence.database import Connection
from persistence.ledger import Call
from persistence.lifecycle.machine import InvalidTransition
from persistence.lifecycle.study import MESSAGE, MessageEvent, MessageState
from persistence.study_work import Asked
from persistence.tables.study import AgentStepRow, CitationRow, messages
from persistence.tables.web import WebSourceRow
from resolvers.study import announce_message, enqueue_answer
from resolvers.work import WorkResources

LEDGER_GENERATION = 1
"""A takeover and a revision begin the text anew, but pay for no committed call again."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ENDS = {
    StudyState.COMPLETE: MessageEvent.COMPLETE,
    StudyState.ABSTAINED: MessageEvent.ABSTAIN,
}


class Answer:
    """The `Ledger`, `Stages` and `AnswerSink` of one try.

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

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        """See `agents.ports.Ledger`."""
        async with self._resources.database.read() as connection:
            return await ledger.recall(
                connection, self._id, LEDGER_GENERATION, step_key, request_hash
            )

    async def record(
        self,
        step_key: str,
        request_hash: str,
        response: str,
        *,
        provider: str,
        model: str,
        usage: Usage,
        cost_micros: int,
    ) -> None:
        """See `agents.ports.Ledger`. What was paid is kept, whoever holds the lease."""
        call = Call(
            request_hash,
            storable(response),
            provider,
            model,
            usage.input_tokens,
            usage.output_tokens,
            cost_micros,
        )
        async with self._resources.database.transaction() as connection:
            await ledger.record(
                connection,
                organization_id=self._asked.organization_id,
                owner_id=self._id,
                generation=LEDGER_GENERATION,
                step_key=step_key,
                call=call,
            )
        self._resources.metrics.model_call(
            provider, model, usage.input_tokens, usage.output_tokens, cost_micros
        )

    async def entered(self, stage: str) -> None:
        """See `agents.ports.Stages`. `stage` is a `MessageState`. Raises `InvalidTransition`."""
        target = MessageState(stage)
        async with self._writing:
            if target == self._state:
                return
            for event in MessageEvent:
                if MESSAGE.table.get((self._state, event)) == target:
                    await self._change(event, {})
                    return
            raise InvalidTransition(MESSAGE.name, self._state, stage)

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
            async with self._resources.database.transaction() as connection:
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
            async with self._resources.database.transaction() as connection:
                await study_work.write(
                    connection, self._id, self._fence, self._state, {"text": text}
                )
            self._flushed = text

    async def renew(self) -> bool:
        """Extends the lease; False when it is lost."""
        async with self._resources.database.transaction() as connection:
            return await leases.renew(
                connection, messages, self._id, self._fence, self._resources.lease_seconds
            )

    async def finish(self, outcome: StudyOutcome) -> None:
        """Writes the answer with all that carries it, in one transaction."""
        text = storable(outcome.text)
        values = {
            "text": text,
            "route": outcome.route,
            # a client that has other text than this must be told to begin again
            "generation": self._generation + (not text.startswith(self._text)),
        }
        pages = self._pages(outcome.citations)
        async with self._writing:
            await self._change(
                _ENDS[outcome.state],
                values,
                cited=_cited(outcome.citations, self._asked.organization_id, self._id, pages),
                pages=list(pages.values()),
                guarded=outcome.guarded,
                steps=[
                    AgentStepRow(
                        organization_id=self._asked.organization_id,
                        message_id=self._id,
                        ordinal=ordinal,
                        kind=step.kind,
                        detail=_storable_json(step.detail),
                    )
                    for ordinal, step in enumerate(outcome.steps)
                ],
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
            await self._change(
                MessageEvent.FAIL,
                {"failure": {"code": code, "message": message}},
                cited=(),
                steps=(),
            )

    async def hand_back(self, delay: timedelta) -> None:
        """Ends this try: the message is QUEUED, its text void, to be tried after `delay`."""
        async with self._writing, self._resources.database.transaction() as connection:
            await study_work.hand_back(connection, self._id, self._fence, self._state)
            await self._announce(connection, MessageState.QUEUED)
            await enqueue_answer(connection, self._id, self._fence, delay)
        await streams.announce(self._resources.bus)

    async def _change(
        self,
        event: MessageEvent,
        values: Mapping[str, Any],
        *,
        cited: Sequence[CitationRow] | None = None,
        steps: Sequence[AgentStepRow] = (),
        pages: Sequence[WebSourceRow] = (),
        guarded: GuardedWork | None = None,
    ) -> None:
        target = MESSAGE.advance(self._state, event)
        written = {**values, "state": target}
        async with self._resources.database.transaction() as connection:
            if cited is None:
                await study_work.write(connection, self._id, self._fence, self._state, written)
            else:
                await study_work.finish(
                    connection, self._id, self._fence, self._state, written, cited, steps, pages
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
        await streams.announce(self._resources.bus)

    async def _announce(self, connection: Connection, state: MessageState) -> None:
        await announce_message(
            connection,
            self._asked.organization_id,
            self._asked.session_id,
            self._id,
            state,
        )


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
