"""Marking allocated to people, and withdrawn."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from persistence import allocations, assignments, submissions
from persistence.database import Connection
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.lifecycle.allocations import ALLOCATION, AllocationEvent, AllocationState
from persistence.roles import MARKERS, Role
from persistence.tables.allocations import MarkingAllocationRow
from persistence.tables.assignments import AssignmentRow
from persistence.tables.submissions import SubmissionRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

MOST_MARKERS = 20


async def load_allocations(
    context: RequestContext, ids: Sequence[UUID]
) -> list[MarkingAllocationRow | None]:
    """Allocations by id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await allocations.allocations_by_id(connection, context.viewer, ids))


async def list_allocations(
    parents: Sequence[AssignmentRow], context: RequestContext, first: int, after: str | None
) -> list[Page[MarkingAllocationRow]]:
    """Who marks what of each assignment, by alias: all for its instructors, else one's own."""
    async with context.database.read() as connection:
        return await allocations.pages_of_allocations(
            connection, context.viewer, [a.id for a in parents], checks.page_size(first), after
        )


async def list_own(
    context: RequestContext, first: int, after: str | None
) -> Page[MarkingAllocationRow]:
    """What the viewer has to mark, by assignment and alias."""
    async with context.database.read() as connection:
        return await allocations.page_of_own(
            connection, context.viewer, checks.page_size(first), after
        )


async def allocate_marking(
    context: RequestContext,
    transaction: Transaction,
    *,
    assignment_id: str,
    submission_ids: Sequence[str],
    user_id: str | None,
    user_ids: Sequence[str] | None,
    role: Role | None,
) -> list[UUID]:
    """Gives submissions to a person to mark, or spreads them evenly over several.

    Harmless to repeat: who has a submission to mark already keeps it. Nobody gets their own.
    """
    connection = transaction.connection
    path = ("input", "assignmentId")
    key = key_of(assignment_id, "Assignment", path)
    found = await assignments.assignments_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("assignment", path)
    assignment = found[0]
    context.require(Permission.MARKING_ALLOCATE, assignment.course_id)
    people = _people(user_id, user_ids)
    for person in people:
        _check_not_own(context, assignment.course_id, person)
    markers = await _markers(connection, assignment, people, role)
    handed_in = await _submissions(context, connection, assignment, submission_ids)
    taken = await allocations.active_of(connection, list(markers), [s.id for s in handed_in])
    loads = await allocations.loads_of(connection, assignment.id, list(markers))
    pairs = spread(
        [(s.id, s.student_id) for s in handed_in],
        list(markers),
        loads,
        {a.submission_id: a.user_id for a in taken if a.role == markers[a.user_id]},
    )
    rows = [
        MarkingAllocationRow(
            organization_id=assignment.organization_id,
            course_id=assignment.course_id,
            assignment_id=assignment.id,
            submission_id=submission,
            user_id=marker,
            role=markers[marker],
            allocated_by=context.viewer.user_id,
        )
        for submission, marker in pairs
    ]
    keys = await allocations.allocate(connection, rows)
    return [keys[row.user_id, row.submission_id, row.role] for row in rows]


def spread(
    submissions: Sequence[tuple[UUID, UUID]],
    markers: Sequence[UUID],
    loads: Mapping[UUID, int],
    taken: Mapping[UUID, UUID],
) -> list[tuple[UUID, UUID]]:
    """For each (submission, student) the submission and its marker: who has least to mark.

    `taken` has who of them marks a submission already. Raises `Refusal` where the only marker is
    the submission's author.
    """
    held = {marker: loads.get(marker, 0) for marker in markers}
    pairs = []
    for place, (submission, student) in enumerate(submissions):
        others = [marker for marker in markers if marker != student]
        if not others:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                "Nobody marks their own submission; give it to another person.",
                ("input", "submissionIds", str(place)),
            )
        marker = taken.get(submission) or min(others, key=held.__getitem__)
        if submission not in taken:
            held[marker] += 1
        pairs.append((submission, marker))
    return pairs


def _check_not_own(context: RequestContext, course_id: UUID, marker: UUID) -> None:
    """Only who runs the course gives marking to themselves, or ends being blind."""
    if marker == context.viewer.user_id and course_id not in context.viewer.instructs:
        raise Refusal(
            RefusalCode.FORBIDDEN, "Nobody allocates marking to themselves, or takes it off."
        )


def _people(user_id: str | None, user_ids: Sequence[str] | None) -> list[UUID]:
    if (user_id is None) == (user_ids is None):
        raise checks.bad("userId", "Name one person in userId, or several in userIds.")
    if user_id is not None:
        return [key_of(user_id, "User", ("input", "userId"))]
    checks.at_most(user_ids or (), "userIds", most=MOST_MARKERS)
    path = ("input", "userIds")
    keys = [key_of(value, "User", (*path, str(i))) for i, value in enumerate(user_ids or ())]
    return list(dict.fromkeys(keys))


async def _markers(
    connection: Connection, assignment: AssignmentRow, people: Sequence[UUID], role: Role | None
) -> dict[UUID, Role]:
    """The role under which each of these people marks. Raises `Refusal`."""
    if role is not None and role not in MARKERS:
        raise checks.bad("role", f"Marking is allocated to {', '.join(MARKERS)}.")
    held = await allocations.marker_roles(connection, assignment.course_id, people)
    markers = {}
    for person in people:
        roles = held.get(person, frozenset())
        if not roles or (role is not None and role not in roles):
            raise Refusal(
                RefusalCode.NOT_FOUND,
                f"There is no such {role or 'marker'} in this course: grant the role first.",
                ("input", "userId"),
            )
        if role is None and len(roles) > 1:
            raise checks.bad("role", f"Say which: this person is {' and '.join(sorted(roles))}.")
        markers[person] = role or next(iter(roles))
    return markers


async def _submissions(
    context: RequestContext,
    connection: Connection,
    assignment: AssignmentRow,
    submission_ids: Sequence[str],
) -> list[SubmissionRow]:
    checks.at_most(submission_ids, "submissionIds")
    path = ("input", "submissionIds")
    keys = [key_of(v, "Submission", (*path, str(i))) for i, v in enumerate(submission_ids)]
    keys = list(dict.fromkeys(keys))
    found = in_order(keys, await submissions.submissions_by_id(connection, context.viewer, keys))
    rows = []
    for place, row in enumerate(found):
        if row is None or row.assignment_id != assignment.id:
            raise missing("submission of this assignment", (*path, str(place)))
        rows.append(row)
    return rows


async def withdraw_allocation(
    context: RequestContext, transaction: Transaction, *, allocation_id: str
) -> UUID:
    """Takes a submission from its marker, at once; what they decided stays."""
    path = ("input", "allocationId")
    key = key_of(allocation_id, "MarkingAllocation", path)
    connection = transaction.connection
    found = await allocations.allocations_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("allocation", path)
    context.require(Permission.MARKING_ALLOCATE, found[0].course_id)
    _check_not_own(context, found[0].course_id, found[0].user_id)
    state = AllocationState(found[0].state)
    target = ALLOCATION.advance(state, AllocationEvent.WITHDRAW)
    await allocations.move_allocation(connection, key, state, target)
    transaction.hint(RIGHTS_TOPIC)
    return key
