import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

from persistence.database import Database
from persistence.ledger import Call, calls_of, recall, record

CALL = Call(
    request_hash="a" * 64,
    response="first",
    provider="offline",
    model="m",
    input_tokens=3,
    output_tokens=5,
    cost_micros=7,
    currency="USD",
)


async def keep(database: Database, organization_id: UUID, owner: UUID, step: str, c: Call) -> str:
    async with database.transaction() as connection:
        return await record(
            connection,
            organization_id=organization_id,
            owner_id=owner,
            generation=1,
            step_key=step,
            call=c,
        )


async def test_the_first_answer_stands(database: Database, organization_id: UUID) -> None:
    owner, second = uuid4(), replace(CALL, response="second")
    assert await keep(database, organization_id, owner, "grade:a", CALL) == "first"
    assert await keep(database, organization_id, owner, "grade:a", second) == "first"
    async with database.read() as connection:
        assert await recall(connection, owner, 1, "grade:a", CALL.request_hash) == "first"
        assert await recall(connection, owner, 2, "grade:a", CALL.request_hash) is None
        assert await recall(connection, owner, 1, "grade:b", CALL.request_hash) is None
        assert await recall(connection, uuid4(), 1, "grade:a", CALL.request_hash) is None
        assert len(await calls_of(connection, owner, 1)) == 1


async def test_another_request_of_the_step_is_neither_recalled_nor_lost(
    database: Database, organization_id: UUID
) -> None:
    owner = uuid4()
    other = replace(CALL, request_hash="b" * 64, response="other", cost_micros=11)
    await keep(database, organization_id, owner, "grade:a", CALL)
    async with database.read() as connection:
        assert await recall(connection, owner, 1, "grade:a", other.request_hash) is None
    for again in (other, replace(other, response="late")):
        assert await keep(database, organization_id, owner, "grade:a", again) == "other"
    async with database.read() as connection:
        assert await recall(connection, owner, 1, "grade:a", other.request_hash) == "other"
        assert await recall(connection, owner, 1, "grade:a", CALL.request_hash) == "first"
        calls = await calls_of(connection, owner, 1)
    assert [(c.response, c.cost_micros) for c in calls] == [("first", 7), ("other", 11)]


async def test_of_two_at_once_one_stands_for_both(
    database: Database, organization_id: UUID
) -> None:
    owner = uuid4()
    answers = await asyncio.gather(
        *(
            keep(database, organization_id, owner, "s", replace(CALL, response=str(n)))
            for n in range(8)
        )
    )
    assert len(set(answers)) == 1
    async with database.read() as connection:
        assert [c.response for c in await calls_of(connection, owner, 1)] == answers[:1]
