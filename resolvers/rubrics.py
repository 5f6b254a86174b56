"""Rubrics: written as drafts, published once, then unchangeable."""

import hashlib
import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import orjson

from persistence import rubrics
from persistence.database import Connection, add
from persistence.keyset import Page
from persistence.lifecycle.assignments import (
    RUBRIC_VERSION,
    RubricVersionEvent,
    RubricVersionState,
)
from persistence.tables.assignments import CriterionRow, LevelRow, RubricRow, RubricVersionRow
from persistence.tables.courses import CourseRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import by_parent, in_order, optional


class NewLevel(Protocol):
    """A level as it is written."""

    title: str
    description: str
    min_points: Decimal
    max_points: Decimal


class NewCriterion(Protocol):
    """A criterion as it is written; its levels from the lowest up."""

    title: str
    guidelines: str
    points: Decimal
    levels: Sequence[NewLevel]


async def load_rubrics(context: RequestContext, ids: Sequence[UUID]) -> list[RubricRow | None]:
    """Rubrics by id; None for what the viewer does not design with."""
    async with context.database.read() as connection:
        return in_order(ids, await rubrics.rubrics_by_id(connection, context.viewer, ids))


async def list_rubrics(
    parents: Sequence[CourseRow], context: RequestContext, first: int, after: str | None
) -> list[Page[RubricRow]]:
    """The rubrics of each course."""
    async with context.database.read() as connection:
        return await rubrics.pages_of_rubrics(
            connection, context.viewer, [c.id for c in parents], checks.page_size(first), after
        )


async def list_versions(
    parents: Sequence[RubricRow], context: RequestContext
) -> list[list[RubricVersionRow]]:
    """All versions of each rubric, newest first."""
    async with context.database.read() as connection:
        rows = await rubrics.versions_of(connection, [r.id for r in parents])
    return by_parent([r.id for r in parents], rows, lambda row: row.rubric_id)


async def get_versions(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[RubricVersionRow | None]:
    """The versions rows the viewer sees are graded by."""
    async with context.database.read() as connection:
        rows = await rubrics.versions_by_id(
            connection, context.viewer.organization_id, [i for i in ids if i]
        )
    return optional(ids, rows)


async def list_criteria(
    parents: Sequence[RubricVersionRow], context: RequestContext
) -> list[list[CriterionRow]]:
    """The criteria of each version."""
    async with context.database.read() as connection:
        rows = await rubrics.criteria_of(connection, [v.id for v in parents])
    return by_parent([v.id for v in parents], rows, lambda row: row.rubric_version_id)


async def list_levels(
    parents: Sequence[CriterionRow], context: RequestContext
) -> list[list[LevelRow]]:
    """The levels of each criterion, lowest first."""
    async with context.database.read() as connection:
        rows = await rubrics.levels_of(connection, [c.id for c in parents])
    return by_parent([c.id for c in parents], rows, lambda row: row.criterion_id)


async def get_criteria(
    context: RequestContext, ids: Sequence[UUID | None]
) -> list[CriterionRow | None]:
    """Criteria named by rows the viewer sees."""
    async with context.database.read() as connection:
        rows = await rubrics.criteria_by_id(
            connection, context.viewer.organization_id, [i for i in ids if i]
        )
    return optional(ids, rows)


async def get_levels(context: RequestContext, ids: Sequence[UUID | None]) -> list[LevelRow | None]:
    """Levels named by rows the viewer sees."""
    async with context.database.read() as connection:
        rows = await rubrics.levels_by_id(
            connection, context.viewer.organization_id, [i for i in ids if i]
        )
    return optional(ids, rows)


async def create_rubric(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    title: str,
    criteria: Sequence[NewCriterion],
) -> UUID:
    """Writes a rubric with its first version, a draft."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.RUBRIC_WRITE, course)
    rubric = RubricRow(
        organization_id=viewer.organization_id,
        course_id=course,
        title=checks.line(title, "title"),
    )
    await add(transaction.connection, rubric)
    await _write_version(transaction.connection, rubric, 1, criteria)
    return rubric.id


async def revise_rubric(
    context: RequestContext,
    transaction: Transaction,
    *,
    rubric_id: str,
    criteria: Sequence[NewCriterion],
) -> UUID:
    """Writes the next version, a draft; the published one stays in force."""
    rubric = await _rubric(context, transaction, rubric_id)
    number = await rubrics.lock_and_count_versions(transaction.connection, rubric.id)
    await _write_version(transaction.connection, rubric, number + 1, criteria)
    return rubric.id


async def publish_rubric(
    context: RequestContext, transaction: Transaction, *, rubric_id: str
) -> UUID:
    """Publishes the newest version; the one published before retires."""
    rubric = await _rubric(context, transaction, rubric_id)
    await rubrics.lock_and_count_versions(transaction.connection, rubric.id)
    newest, *older = await rubrics.versions_of(transaction.connection, [rubric.id])
    target = RUBRIC_VERSION.advance(newest.state, RubricVersionEvent.PUBLISH)
    for version in older:
        if version.state == RubricVersionState.PUBLISHED:
            await rubrics.move_version(
                transaction.connection,
                version.id,
                RubricVersionState.PUBLISHED,
                RUBRIC_VERSION.advance(version.state, RubricVersionEvent.RETIRE),
            )
    await rubrics.move_version(
        transaction.connection, newest.id, RubricVersionState(newest.state), target
    )
    return rubric.id


async def _rubric(context: RequestContext, transaction: Transaction, rubric_id: str) -> RubricRow:
    key = key_of(rubric_id, "Rubric", ("input", "rubricId"))
    found = await rubrics.rubrics_by_id(transaction.connection, context.viewer, [key])
    if not found:
        raise missing("rubric", ("input", "rubricId"))
    context.require(Permission.RUBRIC_WRITE, found[0].course_id)
    return found[0]


async def _write_version(
    connection: Connection, rubric: RubricRow, number: int, drafts: Sequence[NewCriterion]
) -> None:
    checks.at_most(drafts, "criteria", most=20)
    version = RubricVersionRow(
        organization_id=rubric.organization_id,
        course_id=rubric.course_id,
        rubric_id=rubric.id,
        number=number,
        content_hash="",
    )
    rows = [_criterion(version, i, draft) for i, draft in enumerate(drafts)]
    steps = [level for row, d in zip(rows, drafts, strict=True) for level in _levels(row, d.levels)]
    version.content_hash = _content_hash(rows, steps)
    await add(connection, version)
    await add(connection, *rows)
    await add(connection, *steps)


def _criterion(version: RubricVersionRow, position: int, draft: NewCriterion) -> CriterionRow:
    points = checks.points(draft.points, "criteria")
    if points == 0:
        raise checks.bad("criteria", f"The criterion {draft.title!r} is worth no points.")
    return CriterionRow(
        organization_id=version.organization_id,
        rubric_version_id=version.id,
        position=position,
        title=checks.line(draft.title, "criteria"),
        guidelines=checks.prose(draft.guidelines, "criteria", most=4_000),
        points=points,
    )


def _levels(criterion: CriterionRow, drafts: Sequence[NewLevel]) -> list[LevelRow]:
    checks.at_most(drafts, "levels", most=10)
    rows = [
        LevelRow(
            organization_id=criterion.organization_id,
            criterion_id=criterion.id,
            position=position,
            title=checks.line(draft.title, "levels"),
            description=checks.prose(draft.description, "levels", most=4_000),
            min_points=checks.points(draft.min_points, "levels", most=criterion.points),
            max_points=checks.points(draft.max_points, "levels", most=criterion.points),
        )
        for position, draft in enumerate(drafts)
    ]
    for row in rows:
        if row.min_points > row.max_points:
            raise checks.bad("levels", f"The level {row.title!r} ends below where it begins.")
    for lower, upper in itertools.pairwise(rows):
        if upper.min_points < lower.max_points:
            raise checks.bad(
                "levels", f"{upper.title!r} begins below the end of {lower.title!r}: order them up."
            )
    if rows[-1].max_points != criterion.points:
        raise checks.bad(
            "levels",
            f"The highest level of {criterion.title!r} must end at its {criterion.points} points.",
        )
    return rows


def _content_hash(rows: Sequence[CriterionRow], steps: Sequence[LevelRow]) -> str:
    place = {row.id: row.position for row in rows}
    content = [
        [[r.position, r.title, r.guidelines, str(r.points)] for r in rows],
        [
            [place[s.criterion_id], s.title, s.description, str(s.min_points), str(s.max_points)]
            for s in steps
        ],
    ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()
