"""Marking allocated to people, as the API shows it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.lifecycle.allocations import AllocationState
from persistence.roles import Role
from resolvers import allocations, assignments, submissions, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY, Node
from schema.users import User

if TYPE_CHECKING:
    from schema.assignments import Assignment
    from schema.submissions import Submission

AssignmentRef = Annotated["Assignment", strawberry.lazy("schema.assignments")]
SubmissionRef = Annotated["Submission", strawberry.lazy("schema.submissions")]

described_enum(
    AllocationState,
    "Where an allocation stands.",
    ACTIVE="The submission is theirs to mark, while they hold the role.",
    WITHDRAWN="It is no longer theirs.",
)


@strawberry.type(description="A submission given to a person to mark.")
class MarkingAllocation(Node):
    role: Role = described("The role they mark it under: GRADER, BLIND_GRADER or MODERATOR.")
    state: AllocationState = described("Where it stands.")

    @batched("Who marks it.")
    async def marker(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [a.user_id for a in parents])

    @batched("The assignment.")
    async def assignment(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[AssignmentRef]:
        return await assignments.get_assignments(context, [a.assignment_id for a in parents])

    @batched("The submission; null when it was taken from its marker meanwhile.")
    async def submission(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[SubmissionRef | None]:
        return await submissions.get_submissions(context, [a.submission_id for a in parents])

    @batched("Who allocated it.")
    async def allocated_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [a.allocated_by for a in parents])


@strawberry.input(description="Submissions to be marked by people.")
class AllocateMarkingInput:
    assignment_id: strawberry.ID = described("The assignment.")
    submission_ids: list[strawberry.ID] = described("Up to 100 submissions of the assignment.")
    user_id: strawberry.ID | None = strawberry.field(
        default=None, description="Who marks them: a marker of the course."
    )
    user_ids: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="Instead of `userId`, up to 20 markers over whom the submissions are spread: "
        "each goes to who has least of the assignment to mark.",
    )
    role: Role | None = strawberry.field(
        default=None,
        description="GRADER, BLIND_GRADER or MODERATOR; needed where a person holds several.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What allocateMarking did: all of it, or nothing.")
class AllocateMarkingPayload:
    allocations: list[MarkingAllocation] | None = described(
        "The allocations, in the order of the submissions, also of those who had them before; "
        "null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An allocation to be withdrawn.")
class WithdrawAllocationInput:
    allocation_id: strawberry.ID = described("The allocation.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What withdrawAllocation did.")
class WithdrawAllocationPayload:
    allocation: MarkingAllocation | None = described(
        "The allocation, now WITHDRAWN; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class AllocationMutations:
    allocate_marking = mutation(
        allocations.allocate_marking,
        permission=Permission.MARKING_ALLOCATE,
        input_type=AllocateMarkingInput,
        payload=AllocateMarkingPayload,
        noun="allocations",
        load=allocations.load_allocations,
        many=True,
        text="Gives submissions to a grader, blind grader or moderator of the course to mark. "
        "Nobody is given their own. Harmless to repeat.",
    )
    withdraw_allocation = mutation(
        allocations.withdraw_allocation,
        permission=Permission.MARKING_ALLOCATE,
        input_type=WithdrawAllocationInput,
        payload=WithdrawAllocationPayload,
        noun="allocation",
        load=allocations.load_allocations,
        text="Takes a submission from its marker at once, for open subscriptions too. What they "
        "decided stays.",
    )


LOADERS = {"MarkingAllocation": allocations.load_allocations}
