"""Allocations: who marks which submission."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Conflict, Connection, change, fetch
from persistence.grants import in_force
from persistence.keyset import Page, page, pages_by_parent
from persistence.lifecycle.allocations import ALLOCATION, AllocationEvent, AllocationState
from persistence.marking_visibility import marks_blind, sees_allocations
from persistence.roles import MARKERS, Role
from persistence.tables.allocations import MarkingAllocationRow, marking_allocations
from persistence.tables.identity import RoleGrantRow, role_grants, users
from persistence.tables.submissions import submissions
from persistence.visibility import Viewer


async def allocations_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[MarkingAllocationRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(marking_allocations).where(
            marking_allocations.c.id.in_(ids), sees_allocations(marking_allocations, viewer)
        ),
        MarkingAllocationRow,
    )


async def pages_of_allocations(
    connection: Connection,
    viewer: Viewer,
    assignment_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[MarkingAllocationRow]]:
    """The active allocations of each assignment the viewer sees, by the submission's alias."""
    return await pages_by_parent(
        connection,
        select(marking_allocations)
        .join(submissions, submissions.c.id == marking_allocations.c.submission_id)
        .where(
            sees_allocations(marking_allocations, viewer),
            marking_allocations.c.state == AllocationState.ACTIVE,
        ),
        shape=MarkingAllocationRow,
        parent=marking_allocations.c.assignment_id,
        parents=assignment_ids,
        key=[submissions.c.alias, marking_allocations.c.id],
        first=first,
        after=after,
    )


async def page_of_own(
    connection: Connection, viewer: Viewer, first: int, after: str | None
) -> Page[MarkingAllocationRow]:
    """What the viewer has to mark, by assignment and alias: an order that tells nothing."""
    return await page(
        connection,
        select(marking_allocations)
        .join(submissions, submissions.c.id == marking_allocations.c.submission_id)
        .where(
            sees_allocations(marking_allocations, viewer),
            marking_allocations.c.user_id == viewer.user_id,
            marking_allocations.c.state == AllocationState.ACTIVE,
        ),
        shape=MarkingAllocationRow,
        key=[marking_allocations.c.assignment_id, submissions.c.alias, marking_allocations.c.id],
        first=first,
        after=after,
    )


async def blind_among(
    connection: Connection, viewer: Viewer, submission_ids: Sequence[UUID]
) -> frozenset[UUID]:
    """Those of the submissions the viewer marks blind."""
    if not viewer.courses_as(Role.BLIND_GRADER):
        return frozenset()
    found = await connection.scalars(
        select(submissions.c.id).where(
            submissions.c.id.in_(submission_ids), marks_blind(submissions.c.id, viewer)
        )
    )
    return frozenset(found)


async def marker_roles(
    connection: Connection, course_id: UUID, user_ids: Sequence[UUID]
) -> Mapping[UUID, frozenset[Role]]:
    """The marking roles each of these people holds in the course, who are not suspended."""
    rows = await connection.execute(
        select(role_grants.c.user_id, role_grants.c.role)
        .join(users, users.c.id == role_grants.c.user_id)
        .where(
            role_grants.c.user_id.in_(user_ids),
            role_grants.c.course_id == course_id,
            role_grants.c.role.in_(MARKERS),
            users.c.suspended.is_(False),
            in_force(),
        )
    )
    found: dict[UUID, set[Role]] = defaultdict(set)
    for user_id, role in rows:
        found[user_id].add(Role(role))
    return {user_id: frozenset(roles) for user_id, roles in found.items()}


async def loads_of(
    connection: Connection, assignment_id: UUID, user_ids: Sequence[UUID]
) -> Mapping[UUID, int]:
    """How many submissions of the assignment each of these people has to mark."""
    rows = await connection.execute(
        select(marking_allocations.c.user_id, func.count().label("held"))
        .where(
            marking_allocations.c.assignment_id == assignment_id,
            marking_allocations.c.user_id.in_(user_ids),
            marking_allocations.c.state == AllocationState.ACTIVE,
        )
        .group_by(marking_allocations.c.user_id)
    )
    return {row.user_id: row.held for row in rows}


async def active_of(
    connection: Connection, user_ids: Sequence[UUID], submission_ids: Sequence[UUID]
) -> Sequence[MarkingAllocationRow]:
    """What these people have to mark of these submissions."""
    return await fetch(
        connection,
        select(marking_allocations).where(
            marking_allocations.c.user_id.in_(user_ids),
            marking_allocations.c.submission_id.in_(submission_ids),
            marking_allocations.c.state == AllocationState.ACTIVE,
        ),
        MarkingAllocationRow,
    )


async def allocate(
    connection: Connection, rows: Sequence[MarkingAllocationRow]
) -> Mapping[tuple[UUID, UUID, str], UUID]:
    """Allocates, where that was not done before; the ids by person, submission and role.

    Raises `Conflict`.
    """
    values = [row.model_dump(exclude={"created_at", "updated_at"}) for row in rows]
    values.sort(key=lambda v: (v["user_id"], v["submission_id"]))  # one order of locking
    await connection.execute(insert(marking_allocations).values(values).on_conflict_do_nothing())
    given = marking_allocations.c
    wanted = [(row.user_id, row.submission_id, row.role) for row in rows]
    found = await connection.execute(
        select(given.user_id, given.submission_id, given.role, given.id).where(
            tuple_(given.user_id, given.submission_id, given.role).in_(wanted),
            given.state == AllocationState.ACTIVE,
        )
    )
    ids = {(user_id, submission_id, role): key for user_id, submission_id, role, key in found}
    if ids.keys() != set(wanted):  # one that stood in the way was withdrawn meanwhile
        raise Conflict
    return ids


async def withdraw_held(connection: Connection, grant: RoleGrantRow) -> None:
    """Ends what the person has to mark under the role of this grant."""
    await connection.execute(
        update(marking_allocations)
        .where(
            marking_allocations.c.user_id == grant.user_id,
            marking_allocations.c.course_id == grant.course_id,
            marking_allocations.c.role == grant.role,
            marking_allocations.c.state == AllocationState.ACTIVE,
        )
        .values(state=ALLOCATION.advance(AllocationState.ACTIVE, AllocationEvent.WITHDRAW))
    )


async def move_allocation(
    connection: Connection, key: UUID, source: AllocationState, target: AllocationState
) -> None:
    """Changes an allocation's state. Raises `Conflict`."""
    await change(
        connection,
        update(marking_allocations)
        .where(marking_allocations.c.id == key, marking_allocations.c.state == source)
        .values(state=target),
    )
