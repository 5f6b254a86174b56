"""The ledger's promise: what was committed is never asked for again, what arrived is committed."""

import asyncio
from decimal import Decimal

import pytest
from pydantic import BaseModel, ValidationError

from agents.ports import Called, Paid, request_hash, through_ledger


class Question(BaseModel):
    text: str
    points: dict[str, Decimal]


class Reply(BaseModel):
    number: int


class Book:
    """A ledger in memory whose commits can be held up."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.writing = asyncio.Event()

    async def recall(self, step_key: str, request_hash: str) -> str | None:
        return self.rows.get((step_key, request_hash))

    async def record(self, step_key: str, paid: Paid) -> None:
        self.writing.set()
        await self.gate.wait()
        self.rows[step_key, paid.request_hash] = paid.response


QUESTION = Question(text="q", points={"b": Decimal("1.0"), "a": Decimal(2)})


async def answer() -> Called[Reply]:
    return Called(Reply(number=4), provider="p", model="m")


async def refuse() -> Called[Reply]:
    raise AssertionError("a committed call was repeated")


async def test_a_committed_response_is_not_asked_for_again() -> None:
    book = Book()
    first = await through_ledger(book, "s", QUESTION, answer, Reply)
    again = await through_ledger(book, "s", QUESTION, refuse, Reply)
    assert first == again == Reply(number=4)


@pytest.mark.parametrize("step_key", ["s", "t"])
async def test_another_request_or_step_is_another_call(step_key: str) -> None:
    book = Book()
    await through_ledger(book, "s", QUESTION, answer, Reply)
    other = QUESTION if step_key == "t" else QUESTION.model_copy(update={"text": "other"})
    await through_ledger(book, step_key, other, answer, Reply)
    assert len(book.rows) == 2


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    turned = Question(text="q", points={"a": Decimal(2), "b": Decimal("1.0")})
    assert request_hash(turned) == request_hash(QUESTION)
    assert request_hash(turned) != request_hash(Question(text="q", points={}))
    assert len(request_hash(turned)) == 64


async def test_a_failed_call_commits_nothing() -> None:
    book = Book()
    with pytest.raises(AssertionError):
        await through_ledger(book, "s", QUESTION, refuse, Reply)
    assert book.rows == {}


async def test_a_response_that_arrived_is_committed_although_the_run_is_cancelled() -> None:
    book = Book()
    book.gate.clear()
    task = asyncio.create_task(through_ledger(book, "s", QUESTION, answer, Reply))
    await book.writing.wait()
    task.cancel()
    await asyncio.sleep(0)
    book.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(book.rows.values()) == ['{"number":4}']


async def test_a_committed_response_that_no_longer_fits_is_an_error() -> None:
    book = Book()
    book.rows["s", request_hash(QUESTION)] = '{"number":"many"}'
    with pytest.raises(ValidationError):
        await through_ledger(book, "s", QUESTION, refuse, Reply)
