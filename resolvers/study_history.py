"""What the tutor is told of the conversation: its last turns, and a summary of those before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from uuid import UUID

from agents.cancellation import CancellationToken
from agents.ports import Called, Ledger, through_ledger
from agents.study.brief import Speaker, Turn
from agents.study.summary import Summariser, Summary, SummaryRequest, estimated_tokens
from persistence import study_history
from persistence.database import Database
from persistence.lifecycle.study import MessageState
from persistence.tables.study import Author, MessageRow

HISTORY_TOKENS = 4_000
MOST_EXCHANGES = 5
KEPT_EXCHANGES = 2
"""The last questions and answers are told word for word, however long they are."""

SUMMARY_TOKENS = 800
_BATCH_TOKENS = 8_000
_ANSWERED = (MessageState.COMPLETE, MessageState.ABSTAINED)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer."""

    reply_id: UUID
    turns: tuple[Turn, Turn]

    @property
    def tokens(self) -> int:
        """About how many tokens it has."""
        return sum(estimated_tokens(turn.text) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said on the branch before a question, the oldest of it summarised."""

    summary: str
    exchanges: tuple[Exchange, ...]

    def told_by(self, wording: Callable[[str], str]) -> "Conversation":
        """The same in other words."""
        exchanges = tuple(
            replace(
                one,
                turns=(
                    replace(one.turns[0], text=wording(one.turns[0].text)),
                    replace(one.turns[1], text=wording(one.turns[1].text)),
                ),
            )
            for one in self.exchanges
        )
        return Conversation(wording(self.summary), exchanges)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """As a brief has it."""
        told = tuple(turn for one in self.exchanges for turn in one.turns)
        return (Turn(Speaker.SUMMARY, self.summary), *told) if self.summary else told


def conversation(branch: Sequence[MessageRow]) -> Conversation:
    """Reads a branch; a question without an answer is left out."""
    summary = branch[0].summary if branch else None
    exchanges = tuple(
        Exchange(reply.id, (Turn(Speaker.STUDENT, question.text), Turn(Speaker.TUTOR, reply.text)))
        for question, reply in pairwise(branch)
        if question.author == Author.STUDENT and reply.state in _ANSWERED
    )
    return Conversation(summary or "", exchanges)


async def bounded(
    found: Conversation,
    language: str,
    *,
    database: Database,
    ledger: Ledger,
    summariser: Summariser,
    cancellation: CancellationToken,
) -> Conversation:
    """The conversation within `HISTORY_TOKENS`: what is too old joins the summary, which is kept.

    Raises what the summariser and the ledger raise.
    """
    exchanges = found.exchanges
    tokens = sum(one.tokens for one in exchanges)
    if len(exchanges) <= KEPT_EXCHANGES or (
        tokens <= HISTORY_TOKENS and len(exchanges) <= MOST_EXCHANGES
    ):
        return found
    older, recent = exchanges[:-KEPT_EXCHANGES], exchanges[-KEPT_EXCHANGES:]
    summary = found.summary
    for number, batch in enumerate(_batches(older)):
        request = SummaryRequest(
            previous=summary,
            turns=tuple(turn for one in batch for turn in one.turns),
            most_tokens=SUMMARY_TOKENS,
            language=language,
        )

        async def call(request: SummaryRequest = request) -> Called[Summary]:
            return await summariser.summarise(request, cancellation)

        made = await through_ledger(ledger, f"summary:{number}", request, call, Summary)
        summary = _cut(made.text)
    async with database.transaction() as connection:
        await study_history.keep_summary(connection, older[-1].reply_id, summary)
    return Conversation(summary, recent)


def _batches(exchanges: Sequence[Exchange]) -> list[list[Exchange]]:
    """Runs of exchanges that a summariser reads at once."""
    batches: list[list[Exchange]] = []
    tokens = _BATCH_TOKENS
    for one in exchanges:
        if tokens + one.tokens > _BATCH_TOKENS:
            batches.append([])
            tokens = 0
        batches[-1].append(one)
        tokens += one.tokens
    return batches


def _cut(text: str) -> str:
    raw = text.replace("\0", "").encode("utf-8", "replace")[: 3 * SUMMARY_TOKENS]
    return raw.decode("utf-8", "ignore")
