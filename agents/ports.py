"""What the agent teams need from outside, as Protocols, and what they raise.

`ops/wiring.py` plugs persistence and the model gateway in. Nothing here knows SQL, HTTP or a
provider.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel

ResponseT = TypeVar("ResponseT", bound=BaseModel)


class AgentFailure(Exception):
    """A member of a team could not do its step.

    `retryable` says whether the same step may succeed later (a timeout, a rate limit, an answer
    which is not the asked JSON) or never will (a refused key, a defect).
    """

    def __init__(self, detail: str, *, retryable: bool, step_key: str | None = None) -> None:
        super().__init__(detail)
        self.retryable = retryable
        self.step_key = step_key


class AgentCancelled(Exception):
    """The run's CancellationToken was cancelled; in-flight calls were stopped.

    Not `asyncio.CancelledError`: that one means the worker's own task is being cancelled.
    """


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens a provider counted for one call; zero for offline members."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Called(Generic[ResponseT]):
    """What one call returned and what it cost (micro-units of the configured currency)."""

    response: ResponseT
    provider: str
    model: str
    usage: Usage = Usage()
    cost_micros: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Whom models are called for. `owner_id` is the grading task, study message or document.

    `most_micros` is what the owner may cost in all, None without a limit of its own.

    `chosen` holds the models its course or organization chose for a role, as settings write them.
    """

    organization_id: UUID
    course_id: UUID | None
    owner_id: UUID
    user_id: UUID | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)
    most_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Paid:
    """The response to one request, as JSON, and what it cost (micro-units, as in `Called`)."""

    request_hash: str
    response: str
    provider: str
    model: str
    usage: Usage = Usage()
    cost_micros: int = 0


class Ledger(Protocol):
    """The paid calls of one owner and generation (one grading task, one study message)."""

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        """The committed response of this step to this request, or None."""
        ...

    async def record(self, step_key: str, paid: Paid) -> None:
        """Commit a response. May raise when the lease is lost; the team lets that through."""
        ...


def request_hash(request: BaseModel) -> str:
    """SHA-256 (hex) of the request as canonical JSON: keys sorted, no whitespace, UTF-8."""
    document = request.model_dump(mode="json")
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def through_ledger(
    ledger: Ledger,
    step_key: str,
    request: BaseModel,
    call: Callable[[], Awaitable[Called[ResponseT]]],
    response_type: type[ResponseT],
) -> ResponseT:
    """The committed response of this step, or `call()` once and commit what it returned.

    A response that has arrived is committed even when the run is cancelled meanwhile: it is paid.
    Raises what `call` and the ledger raise, and pydantic's ValidationError when a committed
    response no longer fits `response_type`.
    """
    digest = request_hash(request)
    committed = await ledger.recall(step_key, digest)
    if committed is not None:
        return response_type.model_validate_json(committed)
    called = await call()
    paid = Paid(
        digest,
        called.response.model_dump_json(),
        called.provider,
        called.model,
        called.usage,
        called.cost_micros,
    )
    record = asyncio.ensure_future(ledger.record(step_key, paid))
    try:
        await asyncio.shield(record)
    except asyncio.CancelledError:
        if not record.done():
            await asyncio.wait({record})
        if not record.cancelled():
            record.exception()  # retrieved: being cancelled outweighs how the write ended
        raise
    return called.response


class Stages(Protocol):
    """Reports the lifecycle stage of the task or message the team works on."""

    async def entered(self, stage: str) -> None:
        """Raises to abort (lease lost, cancelled); the team propagates that at once."""
        ...


class Steps(Protocol):
    """Takes what a team does while it does it, for whoever follows."""

    def happened(self, kind: str, detail: dict[str, Any]) -> None:
        """Returns at once; the step is written meanwhile. `detail` is JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of course material. `start`/`end` are code points of the document's text."""

    chunk_id: str
    document_id: str
    document_title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str
    score: float


class PassageSearch(Protocol):
    """Search already scoped to what the run may read; best first."""

    async def search(self, query: str, limit: int) -> Sequence[Passage]: ...


@dataclass(frozen=True, slots=True)
class WebPage:
    """What a web search brought of a page. `text` is the extract a quote is checked against: NFC,
    without invisible and control characters. `fetched_at` is ISO 8601 in UTC."""

    url: str
    title: str
    text: str
    fetched_at: str


class WebProblem(StrEnum):
    """Why the web was not searched."""

    NOT_CONFIGURED = "NOT_CONFIGURED"
    SWITCHED_OFF = "SWITCHED_OFF"
    NOT_APPROVED = "NOT_APPROVED"
    QUOTA = "QUOTA"
    REFUSED = "REFUSED"
    BUSY = "BUSY"
    SLOW = "SLOW"
    UNREACHABLE = "UNREACHABLE"
    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"


class WebUnavailable(Exception):
    """The web could not be searched. An answer goes on without it and says so."""

    def __init__(self, problem: WebProblem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class WebFound:
    """Pages, best first, and what finding them cost (micro-units; 0 from a cache)."""

    pages: tuple[WebPage, ...]
    cost_micros: int = 0


class WebSearch(Protocol):
    """Search of the web, bound to what the course allows."""

    @property
    def problem(self) -> WebProblem | None:
        """Why it can't be used at all; None where a planner may offer it."""
        ...

    async def search(self, query: str, limit: int) -> WebFound:
        """At most `limit` pages. Raises WebUnavailable."""
        ...


class Embedder(Protocol):
    """Text to unit vectors."""

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(texts), dimension), each row of length 1 (a row of an empty text may be 0)."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as a model read it, word piece by word piece.

    `vector` is what `embed` gives; `pieces`, shape (n, dimension), are the pieces in their context,
    rows of length 1; `spans`, shape (n, 2), are the code points they stand for.
    """

    vector: NDArray[np.float32]
    pieces: NDArray[np.float32]
    spans: NDArray[np.int32]


class Reader(Embedder, Protocol):
    """An embedder that also shows the vectors its text vectors are the means of."""

    async def read(self, texts: Sequence[str]) -> list[Reading]:
        """One reading of each text, in their order."""
        ...


class Embedders(Protocol):
    """The embedding models there are, by name: `provider:name@dimension`."""

    @property
    def default(self) -> str:
        """The model a new installation begins with."""
        ...

    def documents(self, model: str) -> Embedder:
        """What embeds passages. Raises `EmbeddingUnavailable` for a model that cannot be used."""
        ...

    def queries(self, model: str) -> Embedder:
        """What embeds searches, of which it keeps some. Raises `EmbeddingUnavailable`."""
        ...

    def provider(self, model: str) -> str:
        """Who gets the texts; `offline` where they stay in this server."""
        ...


class EmbeddingUnavailable(Exception):
    """The model is not installed, not configured, or does not answer; the message says which."""


class ProviderNotApproved(EmbeddingUnavailable):
    """The organization does not let its texts go to the model's provider."""

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"This organization has not approved {provider}, whose model searches; an admin does "
            "so with approveProvider."
        )


class AnswerSink(Protocol):
    """Where the tutor's answer goes while it is written."""

    async def write(self, offset: int, text: str) -> None:
        """`text` starts at code point `offset` of the current generation's answer."""
        ...

    async def reset(self, generation: int) -> None:
        """The answer starts again (a revision): what was written before is void."""
        ...
