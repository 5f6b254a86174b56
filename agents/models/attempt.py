"""One request to one model: admitted, priced, reserved, made, and settled whatever happens."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from autogen_core import CancellationToken
from autogen_core.models import CreateResult, LLMMessage, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel, ValidationError

from agents.models.catalogue import Price
from agents.models.failures import FailureKind, ModelFailure
from agents.models.names import ModelName
from agents.models.ports import Attempt, BudgetExceeded, Outcome
from agents.models.stopping import stoppable
from agents.models.tokens import CountedUsage, likely_input, likely_tokens, most_tokens
from agents.ports import Account, Usage
from agents.receipts import Receipt, hand_out

if TYPE_CHECKING:
    from agents.models.gateway import Gateway

logger = logging.getLogger(__name__)

PURSE_SECONDS: Final = 20.0
"""How long a call waits for others to give back what they had set aside of a budget."""

_PURSE_WAITS: Final = (0.1, 0.2, 0.4, 0.8, 1.5)

_BEGUN: Final = frozenset(
    {Outcome.CANCELLED, FailureKind.TIMEOUT, FailureKind.BROKEN, FailureKind.MALFORMED}
)
"""Ends after which a provider may have counted what it did not tell."""


@dataclass(slots=True)
class Request:
    """What is asked, and how far it has come."""

    messages: Sequence[LLMMessage]
    tools: Sequence[Tool | ToolSchema]
    tool_choice: Tool | Literal["auto", "required", "none"]
    json_output: bool | type[BaseModel] | None
    extra: Mapping[str, Any] | None
    token: CancellationToken | None
    streamed: bool = False
    deadline: float = 0.0
    begun: bool = False
    """Whether the caller was given something."""

    @property
    def answer_type(self) -> type[BaseModel] | None:
        """The type the answer is validated as."""
        return self.json_output if isinstance(self.json_output, type) else None

    def options(self) -> dict[str, Any]:
        """As a provider's client takes them."""
        return {
            "tools": self.tools,
            "tool_choice": self.tool_choice,
            "json_output": self.json_output,
            "extra_create_args": self.extra or {},
            "cancellation_token": self.token,
        }


@dataclass(slots=True)
class Attempting:
    """The attempt `number` at the model in `place` of its chain. `run` is called once."""

    gateway: "Gateway"
    account: Account
    role: str
    name: ModelName
    place: int
    number: int
    characters: int = 0
    outcome: str = Outcome.CANCELLED
    usage: RequestUsage | None = None
    began: float = 0.0

    async def run(self, request: Request) -> AsyncGenerator[str | CreateResult, None]:
        """The items of the answer. Raises ModelFailure."""
        gateway, name = self.gateway, self.name
        price = gateway.catalogue.price(name, gateway.now().date())
        offered = gateway.catalogue.find(name)
        if not await gateway.approval.provider_approved(
            self.account.organization_id, name.server, offered.region if offered else None
        ):
            raise ModelFailure(FailureKind.NOT_APPROVED, str(name))
        async with self._in_time(request):
            await self._within_limits(request)
        patience = min(request.deadline, gateway.clock() + PURSE_SECONDS)
        for wait in chain(_PURSE_WAITS, repeat(_PURSE_WAITS[-1])):
            try:
                async with aclosing(self._admitted(request, price)) as items:
                    async for item in items:
                        yield item
            except BudgetExceeded as over:
                # Not waited for in the server's queue, where others' calls have money.
                if not over.passing or gateway.clock() + wait >= patience:
                    kind = FailureKind.BUDGET
                    raise ModelFailure(kind, str(name), purse=over.purse) from None
                await stoppable(asyncio.sleep(wait), request.token)
            else:
                return

    async def _admitted(
        self, request: Request, price: Price
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The items, in a place among the server's calls. Raises BudgetExceeded before any."""
        server = self.gateway.server(self.name)
        async with self._in_time(request):
            await server.limit.enter(request.token)
        try:
            closed = server.circuit.seconds_closed_to_calls()
            if closed:
                raise ModelFailure(FailureKind.SUSPENDED, str(self.name), retry_after=closed)
            async with aclosing(self._accounted(request, price)) as items:
                async for item in items:
                    yield item
        finally:
            server.limit.leave()

    @asynccontextmanager
    async def _in_time(self, request: Request) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(max(0.0, request.deadline - self.gateway.clock())):
                yield
        except TimeoutError:
            raise ModelFailure(FailureKind.TIMEOUT, str(self.name)) from None

    async def _within_limits(self, request: Request) -> None:
        policy = self.gateway.policy
        for key, per_minute in (
            (f"provider:{self.name.server}", policy.provider_per_minute),
            (f"organization:{self.account.organization_id}", policy.organization_per_minute),
        ):
            while per_minute is not None:
                wait = await self.gateway.limits.take(key, per_minute)
                if wait <= 0:
                    break
                await stoppable(asyncio.sleep(wait), request.token)

    async def _accounted(
        self, request: Request, price: Price
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The items, between a reservation of the most they may cost and the settlement."""
        most = CountedUsage(
            most_tokens(request.messages, request.tools, request.answer_type),
            self.gateway.policy.output_tokens,
        )
        reserved = await self._reserved(price.cost(most))
        self.began = self.gateway.clock()
        try:
            async with aclosing(self._items(request)) as items:
                async for item in items:
                    if isinstance(item, CreateResult):
                        self._answered(request, item, price)
                    yield item
        except ModelFailure as failure:
            self.outcome, self.usage = failure.kind, failure.usage
            raise
        except Exception:
            self.outcome = Outcome.DEFECT
            raise
        finally:
            self._tell_server()
            usage = self._spent(request)
            settling = self._later(self._settle(reserved, usage, price.cost(usage)))
            if self.outcome != Outcome.ANSWERED:  # an answer is to be in the ledger first
                await asyncio.shield(settling)

    async def _reserved(self, most_micros: int) -> UUID:
        name = self.name
        attempt = Attempt(
            self.account, self.role, name.provider, name.model, self.place, self.number
        )
        reserving = asyncio.ensure_future(self.gateway.book.reserve(attempt, most_micros))
        try:
            return await asyncio.shield(reserving)
        except BaseException as error:
            self.gateway.server(name).circuit.abandoned()
            if isinstance(error, asyncio.CancelledError):
                self._later(self._undo(reserving))
            raise

    def _later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Done also when this call's own task is cancelled; the gateway waits before it closes."""
        task = asyncio.ensure_future(work)
        self.gateway.settling.add(task)
        task.add_done_callback(self.gateway.settling.discard)
        return task

    async def _undo(self, reserving: "asyncio.Future[UUID]") -> None:
        with suppress(BudgetExceeded):
            await self._settle(await reserving, CountedUsage(0, 0), 0)

    async def _items(self, request: Request) -> AsyncGenerator[str | CreateResult, None]:
        """What the provider gives, each item before the deadline."""
        client = self.gateway.provider_client(self.name)
        server = self.gateway.server(self.name)
        if not request.streamed:
            async with self._in_time(request):
                result = await client.create(request.messages, **request.options())
            server.limit.answered(self.gateway.clock() - self.began)
            yield result
            return
        with self._ended_in_time(request) as token:
            options = request.options() | {"cancellation_token": token}
            first = True
            async with aclosing(client.create_stream(request.messages, **options)) as stream:
                async for item in stream:
                    if first:
                        first = False
                        server.limit.answered(self.gateway.clock() - self.began)
                    if isinstance(item, str):
                        self.characters += len(item)
                    yield item

    @contextmanager
    def _ended_in_time(self, request: Request) -> Iterator[CancellationToken]:
        """What ends a stream at the deadline, or with the request: one timer, not one an item."""
        token, late = CancellationToken(), CancellationToken()
        late.add_callback(token.cancel)
        if request.token is not None:
            request.token.add_callback(token.cancel)
        seconds = max(0.0, request.deadline - self.gateway.clock())
        timer = asyncio.get_running_loop().call_later(seconds, late.cancel)
        try:
            yield token
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not late.is_cancelled() or (task is not None and task.cancelling()):
                raise
            raise ModelFailure(FailureKind.TIMEOUT, str(self.name)) from None
        finally:
            timer.cancel()

    def _answered(self, request: Request, result: CreateResult, price: Price) -> None:
        """Takes note of an answer. Raises ModelFailure where it is not what was asked for."""
        answer_type = request.answer_type
        if answer_type is not None and isinstance(result.content, str):
            try:
                answer_type.model_validate_json(result.content)
            except ValidationError:
                raise ModelFailure(
                    FailureKind.MALFORMED, str(self.name), usage=result.usage
                ) from None
        self.outcome, self.usage = Outcome.ANSWERED, result.usage
        usage = _counted(result.usage)
        hand_out(
            Receipt(
                self.name.provider,
                self.name.model,
                Usage(usage.prompt_tokens, usage.completion_tokens),
                price.cost(usage),
            )
        )

    def _tell_server(self) -> None:
        server = self.gateway.server(self.name)
        if self.outcome == Outcome.CANCELLED:
            server.circuit.abandoned()
            return
        failed = self.outcome in FailureKind.__members__
        kind = FailureKind(self.outcome) if failed else None
        server.circuit.ended(kind)
        if kind in {FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE}:
            server.limit.congested()

    def _spent(self, request: Request) -> CountedUsage:
        """What the provider counted, or an estimate where it began and was not heard out."""
        if self.usage is not None:
            return _counted(self.usage)
        if self.outcome in _BEGUN or self.characters:
            sent = likely_input(request.messages)
            return CountedUsage(sent, likely_tokens(self.characters), estimated=True)
        return CountedUsage(0, 0)

    async def _settle(self, reserved: UUID, usage: CountedUsage, cost_micros: int) -> None:
        seconds = self.gateway.clock() - self.began
        self.gateway.metrics.model_attempt(
            self.name.provider, self.name.model, self.outcome, seconds, cost_micros
        )
        try:
            await self.gateway.book.settle(
                reserved,
                outcome=self.outcome,
                usage=usage,
                cost_micros=cost_micros,
                milliseconds=int(seconds * 1_000),
            )
        except Exception as error:  # noqa: BLE001 - the answer is not lost for it; the sweep settles
            logger.warning("the use of a model was not settled: %s", type(error).__name__)


def _counted(usage: RequestUsage) -> CountedUsage:
    if isinstance(usage, CountedUsage):
        return usage
    return CountedUsage(usage.prompt_tokens, usage.completion_tokens)
