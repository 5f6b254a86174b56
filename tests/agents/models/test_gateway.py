"""The gateway over the real SDKs: retries, deadlines, limits, budgets, fallback, the breaker."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from autogen_core import CancellationToken
from autogen_core.models import CreateResult, UserMessage
from pydantic import BaseModel

from agents.models.catalogue import Catalogue, OfferedModel
from agents.models.concurrency import AdaptiveLimit
from agents.models.failures import FailureKind, ModelFailure
from agents.models.gateway import Gateway, GatewayClient, GatewayPolicy
from agents.models.names import model_name
from agents.models.ports import Attempt, BudgetExceeded, Purse
from agents.models.providers import Keys, Providers
from agents.models.tokens import CountedUsage
from agents.ports import Account
from agents.receipts import collected, total
from observability.metrics import Metrics
from persistence.limits import MemoryLimits
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models.protocol_server import ProtocolServer, silent

ASKED = [UserMessage(content="What does a router do?", source="ann")]


class Note(BaseModel):
    """What is asked for."""

    text: str


@dataclass
class Book:
    """A `UsageBook` with one budget."""

    budget: int | None = None
    reserved: dict[UUID, tuple[Attempt, int]] = field(default_factory=dict)
    settled: list[tuple[Attempt, str, CountedUsage, int]] = field(default_factory=list)
    written: asyncio.Event = field(default_factory=asyncio.Event)

    async def reserve(self, attempt: Attempt, most_micros: int) -> UUID:
        held = sum(most for _, most in self.reserved.values()) + sum(one[3] for one in self.settled)
        if self.budget is not None and held + most_micros > self.budget:
            raise BudgetExceeded
        key = uuid4()
        self.reserved[key] = attempt, most_micros
        return key

    async def settle(self, reserved, *, outcome, usage, cost_micros, milliseconds) -> None:
        assert milliseconds >= 0
        attempt, most = self.reserved.pop(reserved)
        assert cost_micros <= most
        self.settled.append((attempt, outcome, usage, cost_micros))
        self.written.set()

    @property
    def outcomes(self) -> list[str]:
        return [one[1] for one in self.settled]


@dataclass
class Approval:
    """All providers, until one is taken out."""

    refused: set[str] = field(default_factory=set)

    async def provider_approved(
        self, organization_id: UUID, provider: str, region: str | None
    ) -> bool:
        assert isinstance(organization_id, UUID)
        assert region is None
        return provider.partition("@")[0] not in self.refused


@dataclass
class Ways:
    """A gateway to two servers, and what it wrote down."""

    gemini: ProtocolServer
    openai: ProtocolServer
    gateway: Gateway
    book: Book
    approval: Approval

    @property
    def names(self) -> tuple[str, str]:
        return f"gemini:gemini-3-flash@{self.gemini.address}", f"openai:q@{self.openai.address}/v1"

    async def settled(self) -> Book:
        """What was written down once it is."""
        await asyncio.gather(*self.gateway.settling)
        return self.book

    def client(self, *which: int, account: Account | None = None) -> GatewayClient:
        names = tuple(model_name(self.names[i]) for i in which or (0,))
        return self.gateway.client(names, account or Account(uuid4(), None, uuid4()), "tutor")


@pytest.fixture
async def ways() -> AsyncIterator[Callable[..., Ways]]:
    async with gemini.gemini_server().running() as one, openai.openai_server().running() as other:
        made: list[Providers] = []

        def make(budget: int | None = None, **policy) -> Ways:
            providers = Providers(
                Keys(gemini=gemini.KEY, servers=gemini.KEY), GatewayPolicy(**policy), idle_seconds=5
            )
            made.append(providers)
            book, approval = Book(budget), Approval()
            names = f"gemini:gemini-3-flash@{one.address}", f"openai:q@{other.address}/v1"
            prices = [{"from": "2025-01-01", "input": 1_000_000, "output": 2_000_000, "cached": 0}]
            offered = [OfferedModel(name=name, prices=prices) for name in names]
            gateway = Gateway(
                make=providers.client,
                catalogue=Catalogue(offered),
                book=book,
                limits=MemoryLimits(),
                approval=approval,
                metrics=Metrics(with_process=False),
                policy=providers.policy,
            )
            return Ways(one, other, gateway, book, approval)

        yield make
        for providers in made:
            await providers.close()


async def failure_of(client: GatewayClient, **options) -> ModelFailure:
    with pytest.raises(ModelFailure) as caught:
        await client.create(ASKED, **options)
    return caught.value


async def test_an_answer_is_settled_at_its_price(ways):
    made = ways()
    with collected() as receipts:
        result = await made.client().create(ASKED)
    assert result.content == "Hello there."
    ((attempt, outcome, usage, cost),) = (await made.settled()).settled
    assert (attempt.role, attempt.provider, attempt.place, attempt.number) == (
        "tutor",
        "gemini",
        0,
        1,
    )
    assert (outcome, usage.prompt_tokens, usage.cached_tokens) == ("ANSWERED", 11, 4)
    assert cost == 7 * 1 + 7 * 2  # four of eleven were cached, at 0
    assert total(receipts).cost_micros == cost
    assert made.book.reserved == {}


async def test_an_answer_does_not_wait_for_its_settlement(ways):
    made, slow = ways(), asyncio.Event()
    settle = made.book.settle

    async def settle_slowly(*args, **ended) -> None:
        await slow.wait()
        await settle(*args, **ended)

    made.book.settle = settle_slowly
    assert (await made.client().create(ASKED)).content == "Hello there."
    assert made.book.outcomes == []
    slow.set()
    assert (await made.settled()).outcomes == ["ANSWERED"]


async def test_retry_info_is_honoured(ways):
    made = ways()
    made.gemini.then(gemini.fails(429, "RESOURCE_EXHAUSTED", delay="0.4s"))
    began = time.monotonic()
    assert (await made.client().create(ASKED)).content == "Hello there."
    assert time.monotonic() - began >= 0.4
    assert (await made.settled()).outcomes == ["RATE_LIMITED", "ANSWERED"]
    assert [one[0].number for one in (await made.settled()).settled] == [1, 2]
    assert made.book.settled[0][3] == 0


async def test_a_wait_beyond_the_deadline_is_a_failure_at_once(ways):
    made = ways(seconds=5)
    made.openai.then(openai.fails(429, retry_after="3600"))
    failure = await failure_of(made.client(1))
    assert (failure.kind, failure.retry_after) == (FailureKind.RATE_LIMITED, 3_600)
    assert len(made.openai.requests) == 1


async def test_faults_are_tried_again_a_few_times(ways):
    made = ways(tries=3)
    made.gemini.usual = gemini.fails(503, "UNAVAILABLE")
    failure = await failure_of(made.client())
    assert (failure.kind, failure.retryable) == (FailureKind.UNAVAILABLE, True)
    assert len(made.gemini.requests) == 3


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (gemini.fails(401, "UNAUTHENTICATED"), FailureKind.UNAUTHORIZED),
        (gemini.parts(finish="SAFETY"), FailureKind.BLOCKED),
        (gemini.parts({"text": "half"}, finish="MAX_TOKENS"), FailureKind.TRUNCATED),
    ],
)
async def test_what_will_not_get_better_is_not_tried_again_nor_elsewhere(ways, behaviour, kind):
    made = ways()
    made.gemini.then(behaviour)
    failure = await failure_of(made.client(0, 1))
    assert (failure.kind, failure.retryable) == (kind, False)
    assert (len(made.gemini.requests), made.openai.requests) == (1, [])


async def test_the_next_model_of_the_chain_answers_what_the_first_cannot(ways):
    made = ways(tries=1)
    made.gemini.usual = gemini.fails(503, "UNAVAILABLE")
    with collected() as receipts:
        result = await made.client(0, 1).create(ASKED)
    assert result.content == "Hello there."
    assert [(one[0].provider, one[0].place, one[1]) for one in (await made.settled()).settled] == [
        ("gemini", 0, "UNAVAILABLE"),
        ("openai", 1, "ANSWERED"),
    ]
    assert total(receipts).provider == "openai"


async def test_an_answer_that_is_not_the_asked_json_is_asked_for_once_more(ways):
    made = ways()
    made.gemini.then(gemini.says("I would rather chat."), gemini.says('{"text": "a"}'))
    assert (await made.client().create(ASKED, json_output=Note)).content == '{"text": "a"}'
    assert (await made.settled()).outcomes == ["MALFORMED", "ANSWERED"]
    assert made.book.settled[0][3] > 0  # it was paid for
    made.gemini.usual = gemini.says('{"text": "trunc')
    failure = await failure_of(made.client(), json_output=Note)
    assert failure.kind is FailureKind.MALFORMED
    assert len(made.gemini.requests) == 4


async def test_a_budget_stops_the_call_that_could_exceed_it(ways):
    made = ways(budget=100_000, output_tokens=20_000)
    assert await made.client().create(ASKED)
    results = await asyncio.gather(
        *(made.client().create(ASKED) for _ in range(6)), return_exceptions=True
    )
    answered = [one for one in results if isinstance(one, CreateResult)]
    stopped = [one for one in results if isinstance(one, ModelFailure)]
    assert len(answered) == 2  # two reservations of 40,000 and some fit, whoever comes first
    assert {one.kind for one in stopped} == {FailureKind.BUDGET}
    assert len(made.gemini.requests) == 3
    assert not stopped[0].retryable


async def test_what_others_have_set_aside_is_waited_for_outside_of_the_queue(ways):
    made = ways(concurrency=1)
    poor, freed = Account(uuid4(), None, uuid4()), asyncio.Event()
    reserve = made.book.reserve
    asked: list[Account] = []

    async def reserve_when_freed(attempt: Attempt, most_micros: int) -> UUID:
        asked.append(attempt.account)
        if attempt.account is poor and not freed.is_set():
            raise BudgetExceeded(Purse.COURSE, passing=True)
        return await reserve(attempt, most_micros)

    made.book.reserve = reserve_when_freed
    waiting = asyncio.create_task(made.client(account=poor).create(ASKED))
    while not asked:  # noqa: ASYNC110 - the other task's doing
        await asyncio.sleep(0.01)
    assert await made.client().create(ASKED), "the only place is free meanwhile"
    assert not waiting.done()
    freed.set()
    assert (await waiting).content == "Hello there."
    assert asked.count(poor) > 1
    assert len(made.gemini.requests) == 2


async def test_a_budget_that_stays_set_aside_is_used_up_in_the_end(ways):
    made = ways(seconds=1)

    async def reserve(_attempt: Attempt, _most_micros: int) -> UUID:
        raise BudgetExceeded(Purse.COURSE, passing=True)

    made.book.reserve = reserve
    failure = await failure_of(made.client())
    assert (failure.kind, failure.purse) == (FailureKind.BUDGET, Purse.COURSE)
    token = CancellationToken()
    call = asyncio.create_task(made.client().create(ASKED, cancellation_token=token))
    await asyncio.sleep(0)
    token.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert made.gemini.requests == []


async def test_no_price_no_call(ways):
    made = ways()
    unknown = model_name("gemini:gemini-unheard-of")
    client = made.gateway.client((unknown,), Account(uuid4(), None, uuid4()), "tutor")
    assert (await failure_of(client)).kind is FailureKind.UNPRICED
    assert made.book.settled == []


async def test_a_provider_that_is_not_approved_gets_nothing(ways):
    made = ways()
    made.approval.refused.add("gemini")
    assert (await failure_of(made.client())).kind is FailureKind.NOT_APPROVED
    assert made.gemini.requests == []


@pytest.mark.parametrize("which", [0, 1])
async def test_a_stream_that_does_not_end_meets_the_deadline(ways, which):
    made = ways(seconds=1.5)
    server = (made.gemini, made.openai)[which]
    server.usual = (gemini.endless, openai.endless)[which]
    with pytest.raises(ModelFailure) as caught:
        async for _ in made.client(which).create_stream(ASKED):
            pass
    assert caught.value.kind is FailureKind.TIMEOUT
    async with asyncio.timeout(1):
        await server.left.wait()
    ((_, outcome, usage, cost),) = made.book.settled
    assert outcome == "TIMEOUT"
    assert usage.estimated
    assert usage.completion_tokens > 0
    assert cost > 0


async def test_a_stream_that_broke_is_not_begun_again_behind_the_readers_back(ways):
    made = ways()
    half = gemini.body({"text": "Half"}, finish=None)
    made.gemini.then(gemini.stream_of([half], then=lambda r: r.abort()))
    stream = made.client(0, 1).create_stream(ASKED)
    assert await anext(stream) == "Half"
    with pytest.raises(ModelFailure) as caught:
        await anext(stream)
    assert caught.value.kind is FailureKind.BROKEN
    assert caught.value.retryable
    assert made.openai.requests == []


async def test_a_stream_that_never_began_is_begun_again(ways):
    made = ways()
    made.gemini.then(gemini.fails(503, "UNAVAILABLE"))
    *pieces, result = [item async for item in made.client().create_stream(ASKED)]
    assert "".join(pieces) == result.content == "Hello there."


@pytest.mark.parametrize("which", [0, 1])
async def test_what_was_spent_until_a_cancel_is_written_down(ways, which):
    made = ways()
    server = (made.gemini, made.openai)[which]
    server.usual = (gemini.endless, openai.endless)[which]
    token = CancellationToken()
    seen = asyncio.Event()

    async def read() -> None:
        async for _ in made.client(which).create_stream(ASKED, cancellation_token=token):
            seen.set()

    reading = asyncio.ensure_future(read())
    await seen.wait()
    token.cancel()
    async with asyncio.timeout(1):
        await server.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await reading
    ((_, outcome, usage, cost),) = (await made.settled()).settled
    assert (outcome, usage.estimated) == ("CANCELLED", True)
    assert usage.prompt_tokens > 0
    assert cost > 0


async def test_a_cancel_ends_the_wait_for_another_try(ways):
    made = ways()
    made.gemini.usual = gemini.fails(429, "RESOURCE_EXHAUSTED", delay="60s")
    token = CancellationToken()
    asking = asyncio.ensure_future(made.client().create(ASKED, cancellation_token=token))
    await made.gemini.asked.wait()
    await made.book.written.wait()
    token.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_server_that_keeps_failing_is_left_alone(ways):
    made = ways(tries=1)
    made.gemini.usual = gemini.fails(503, "UNAVAILABLE")
    for _ in range(5):
        assert (await failure_of(made.client())).kind is FailureKind.UNAVAILABLE
    failure = await failure_of(made.client())
    assert (failure.kind, failure.retryable) == (FailureKind.SUSPENDED, True)
    assert len(made.gemini.requests) == 5
    assert (await made.client(0, 1).create(ASKED)).content == "Hello there."
    now = time.monotonic()
    made.gemini.usual = gemini.says("Back.")
    made.gateway.server(model_name(made.names[0])).circuit.clock = lambda: now + 60
    assert (await made.client().create(ASKED)).content == "Back."


async def test_a_limit_of_the_organization_spreads_its_calls(ways):
    made = ways(organization_per_minute=600)  # ten a second, sixty at once
    account, other = (Account(uuid4(), None, uuid4()) for _ in range(2))
    began = time.monotonic()
    await asyncio.gather(*(made.client(account=account).create(ASKED) for _ in range(65)))
    assert time.monotonic() - began >= 0.4
    assert await made.gateway.limits.take(f"organization:{other.organization_id}", 600) == 0


async def test_a_429_lowers_the_number_of_calls_at_once(ways):
    made = ways()
    before = made.gateway.server(model_name(made.names[0])).limit.limit
    made.gemini.then(gemini.fails(429, "RESOURCE_EXHAUSTED", delay="0.01s"))
    await made.client().create(ASKED)
    assert made.gateway.server(model_name(made.names[0])).limit.limit < before


async def test_a_servers_limit_grows_with_each_answer_until_it_has_too_much_to_do():
    limit = AdaptiveLimit(200, lambda: 10.0)
    running = [asyncio.ensure_future(limit.enter()) for _ in range(50)]
    await asyncio.sleep(0)
    assert sum(one.done() for one in running) == 32
    for _ in range(18):
        limit.answered(0.1)
    await asyncio.gather(*running)
    limit.congested()
    lowered = limit.limit
    assert lowered == 35
    for _ in range(18):
        limit.answered(0.1)
    assert limit.limit == lowered


async def test_no_more_than_the_limit_run_at_once(ways):
    made = ways(concurrency=7)
    await asyncio.gather(*(made.client().create(ASKED) for _ in range(60)))
    assert made.gemini.open_most <= 7


async def test_nothing_of_a_prompt_or_an_error_is_logged(ways, caplog):
    made = ways(tries=2)
    made.gemini.then(gemini.fails(503, "UNAVAILABLE"), gemini.fails(400, "INVALID_ARGUMENT"))
    with caplog.at_level(logging.WARNING):
        failure = await failure_of(made.client())
    everything = json.dumps([record.getMessage() for record in caplog.records]) + str(failure)
    assert "SECRET" not in everything
    assert "router" not in everything


async def test_a_task_that_is_cancelled_leaves_nothing_set_aside(ways):
    made = ways()
    made.gemini.usual = silent
    asking = [asyncio.ensure_future(made.client().create(ASKED)) for _ in range(40)]
    await made.gemini.asked.wait()
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await asyncio.gather(*made.gateway.settling)
    assert made.book.reserved == {}
    assert (await asyncio.gather(*made.gateway.settling)) == []
    made.gemini.usual = gemini.says("Fine.")
    assert (await made.client().create(ASKED)).content == "Fine."
