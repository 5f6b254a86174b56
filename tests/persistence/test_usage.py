"""Budgets of models: nothing is admitted that could exceed one, and nothing set aside is lost."""

import asyncio
from dataclasses import astuple
from datetime import date, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from persistence import reservations
from persistence.budgets import fullest, set_limit, spent_in
from persistence.database import Database, add
from persistence.model_choices import choices_of, choose
from persistence.reservations import OverBudget, Settled
from persistence.tables.courses import CourseRow
from persistence.tables.identity import OrganizationRow
from persistence.tables.usage import ModelUsageRow

MONTH = date(2026, 3, 1)


@pytest.fixture
async def course(database: Database) -> CourseRow:
    organization = OrganizationRow(name="Org", slug="usage-org")
    row = CourseRow(organization_id=organization.id, code="NET", title="Networks")
    async with database.transaction() as connection:
        await add(connection, organization)
        await add(connection, row)
    return row


async def reserve(
    database: Database,
    course: CourseRow,
    micros: int,
    *,
    monthly: int | None = None,
    owner: tuple[UUID, int] | None = None,
) -> UUID:
    """`owner` is whom it is for, and what that may cost in all."""
    row = ModelUsageRow(
        organization_id=course.organization_id,
        course_id=course.id,
        owner_id=owner[0] if owner else uuid4(),
        role="tutor",
        provider="gemini",
        model="g",
        place=0,
        number=1,
        month=MONTH,
        reserved_micros=micros,
    )
    most = owner[1] if owner else None
    async with database.transaction() if owner else database.statement() as connection:
        await reservations.reserve(connection, row, monthly_micros=monthly, owner_micros=most)
    return row.id


def ended(cost: int) -> Settled:
    return Settled("ANSWERED", 10, 5, 0, False, cost, 12)


async def sums(database: Database, course: CourseRow) -> tuple[int, int]:
    """What is spent and set aside; the same for the organization and its only course."""
    async with database.read() as connection:
        spent = await spent_in(connection, course.organization_id, [course.id], MONTH)
    assert spent.get(course.id) == spent.get(None)
    return astuple(spent[None])


async def test_what_is_set_aside_becomes_what_it_cost_once(database, course):
    key = await reserve(database, course, 500)
    assert await sums(database, course) == (0, 500)
    async with database.transaction() as connection:
        assert await reservations.settle(connection, key, ended(120))
        assert not await reservations.settle(connection, key, ended(120))
    assert await sums(database, course) == (120, 0)


async def test_many_at_once_never_exceed_the_budget(database, course):
    results = await asyncio.gather(
        *(reserve(database, course, 300, monthly=1_000) for _ in range(12)), return_exceptions=True
    )
    assert sum(isinstance(one, UUID) for one in results) == 3
    assert sum(isinstance(one, OverBudget) for one in results) == 9
    assert await sums(database, course) == (0, 900)


async def test_a_course_has_a_budget_of_its_own(database, course):
    async with database.transaction() as connection:
        await set_limit(connection, course.organization_id, course.id, 400)
    await reserve(database, course, 300, monthly=1_000)
    with pytest.raises(OverBudget):
        await reserve(database, course, 300, monthly=1_000)
    assert await sums(database, course) == (0, 300)  # the organization's was given back


async def test_what_one_owner_may_cost_counts_over_months_and_failed_calls(database, course):
    owner = uuid4(), 1_000
    results = await asyncio.gather(
        *(reserve(database, course, 300, owner=owner) for _ in range(6)), return_exceptions=True
    )
    kept = [one for one in results if isinstance(one, UUID)]
    assert len(kept) == 3
    async with database.transaction() as connection:
        for key in kept:
            await reservations.settle(connection, key, ended(250))
        await connection.execute(text("UPDATE model_usage SET month = '2025-01-01'"))
    with pytest.raises(OverBudget):
        await reserve(database, course, 300, owner=owner)
    await reserve(database, course, 250, owner=owner)
    await reserve(database, course, 300, owner=(uuid4(), 1_000))


async def test_it_says_whose_budget_it_is_and_whether_waiting_helps(database, course):
    async with database.transaction() as connection:
        await set_limit(connection, course.organization_id, course.id, 400)
    key = await reserve(database, course, 300, monthly=1_000)
    with pytest.raises(OverBudget) as waits:
        await reserve(database, course, 300, monthly=1_000)
    assert (waits.value.course_id, waits.value.passing) == (course.id, True)
    async with database.transaction() as connection:
        await reservations.settle(connection, key, ended(200))
    with pytest.raises(OverBudget) as over:
        await reserve(database, course, 300, monthly=1_000)
    assert (over.value.course_id, over.value.passing) == (course.id, False)
    with pytest.raises(OverBudget) as never:
        await reserve(database, course, 300, monthly=299)
    assert (never.value.course_id, never.value.passing) == (None, False)
    assert await sums(database, course) == (200, 0)


async def test_an_organizations_own_budget_counts_instead_of_the_usual_one(database, course):
    async with database.transaction() as connection:
        await set_limit(connection, course.organization_id, None, 100)
        await set_limit(connection, course.organization_id, None, 200)
    await reserve(database, course, 150, monthly=50)
    with pytest.raises(OverBudget):
        await reserve(database, course, 100, monthly=1_000)
    with pytest.raises(OverBudget):
        await reserve(database, course, 201, monthly=1_000)


async def test_the_budgets_that_are_most_used_up_come_first(database, course):
    other = OrganizationRow(name="Other", slug="other-org")
    async with database.transaction() as connection:
        await add(connection, other)
        await set_limit(connection, course.organization_id, None, 1_000)
    await reserve(database, course, 250)
    async with database.read() as connection:
        found = await fullest(connection, MONTH, 50_000, 2)
        assert found == [("usage-org", 1_000, 0, 250), ("other-org", 50_000, 0, 0)]
        assert await fullest(connection, MONTH, None, 5) == found[:1]
        assert len(await fullest(connection, MONTH, 50_000, 1)) == 1


async def test_what_a_dead_process_set_aside_is_taken_as_spent(database, course):
    key = await reserve(database, course, 500)
    alive = await reserve(database, course, 70)
    async with database.transaction() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text("UPDATE model_usage SET created_at = now() - interval '2 hours' WHERE id = :id"),
            {"id": key},
        )
    async with database.transaction() as connection:
        assert await reservations.settle_lost(connection, timedelta(hours=1), 100) == 1
    assert await sums(database, course) == (500, 70)
    async with database.transaction() as connection:
        assert await reservations.settle(connection, alive, ended(7))
    assert await sums(database, course) == (507, 0)


async def test_what_a_taken_over_owner_set_aside_is_free_again(database, course):
    owner = uuid4()
    gone = await reserve(database, course, 500, owner=(owner, 9_999))
    alive = await reserve(database, course, 70)
    async with database.transaction() as connection:
        await reservations.settle_taken_over(connection, [owner])
    assert await sums(database, course) == (500, 70)
    async with database.transaction() as connection:
        assert await reservations.settle(connection, gone, ended(30)), "it had only stood still"
        assert not await reservations.settle(connection, gone, ended(30))
        assert await reservations.settle(connection, alive, ended(7))
    assert await sums(database, course) == (37, 0)


async def test_a_courses_choice_goes_before_its_organizations(database, course):
    organization = course.organization_id
    async with database.transaction() as connection:
        await choose(connection, organization, None, "tutor", "gemini:a")
        await choose(connection, organization, None, "critic", "gemini:b")
        await choose(connection, organization, course.id, "tutor", "offline")
        await choose(connection, organization, course.id, "tutor", "gemini:c")
        chosen = await choices_of(connection, organization, course.id)
        assert chosen == {"tutor": "gemini:c", "critic": "gemini:b"}
        assert await choices_of(connection, organization, uuid4()) == {
            "tutor": "gemini:a",
            "critic": "gemini:b",
        }
