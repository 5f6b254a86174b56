"""What the tutor remembers of a person, as the API shows it to them alone."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.lifecycle.study import FactState
from resolvers import study_memory
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.courses import Course
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection

described_enum(
    FactState,
    "Where a memory fact stands.",
    PROPOSED="The tutor proposes it and does not use it.",
    ACCEPTED="Its owner wrote or accepted it: the tutor is told.",
)


@strawberry.type(
    description="Something about a student that the tutor is told with each question. Its owner "
    "alone reads, changes and deletes it."
)
class MemoryFact(Node):
    text: str = described("The fact, in one line.")
    state: FactState = described("Where it stands.")
    version: int = described("Counts its changes, from 1.")
    created_at: datetime = described("When it was written or proposed.")

    @batched(
        "The course whose tutor is told; null for all of one's courses, and for one that was left."
    )
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await study_memory.get_courses(parents, context)


@strawberry.input(description="Something the tutor is to know.")
class RememberFactInput:
    text: str = described("The fact, one line of 1 to 500 characters.")
    course_id: strawberry.ID | None = strawberry.field(
        default=None, description="The course whose tutor is told; left out, those of all courses."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What rememberFact did.")
class RememberFactPayload:
    memory_fact: MemoryFact | None = described("The fact; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Another wording of a fact.")
class UpdateMemoryFactInput:
    memory_fact_id: strawberry.ID = described("The fact.")
    text: str = described("The fact, one line of 1 to 500 characters.")
    version: int = described("The version that was read.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What updateMemoryFact did.")
class UpdateMemoryFactPayload:
    memory_fact: MemoryFact | None = described("The fact; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A proposed fact the tutor may use.")
class AcceptMemoryFactInput:
    memory_fact_id: strawberry.ID = described("The fact.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What acceptMemoryFact did.")
class AcceptMemoryFactPayload:
    memory_fact: MemoryFact | None = described("The fact; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A fact to be deleted.")
class ForgetFactInput:
    memory_fact_id: strawberry.ID = described("The fact.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What forgetFact did.")
class ForgetFactPayload:
    deleted_id: strawberry.ID | None = described("The id it had; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class StudyMemoryQueries:
    @root_field(
        "What the tutor remembers of the viewer, and what it proposes to; newest first.",
        course_id="Only what the tutor of this course may be told.",
        first=FIRST,
        after=AFTER,
    )
    async def memory_facts(
        context: RequestContext,
        course_id: strawberry.ID | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[MemoryFact] | None:
        return connection(await study_memory.list_facts(context, course_id, first, after))


@strawberry.type
class StudyMemoryMutations:
    remember_fact = mutation(
        study_memory.remember_fact,
        permission=Permission.STUDY_ASK,
        input_type=RememberFactInput,
        payload=RememberFactPayload,
        noun="memory_fact",
        load=study_memory.load_facts,
        text="Tells the tutor something to remember.",
    )
    update_memory_fact = mutation(
        study_memory.update_memory_fact,
        permission=Permission.STUDY_ASK,
        input_type=UpdateMemoryFactInput,
        payload=UpdateMemoryFactPayload,
        noun="memory_fact",
        load=study_memory.load_facts,
        text="Rewrites a fact; a proposal is accepted by it.",
    )
    accept_memory_fact = mutation(
        study_memory.accept_memory_fact,
        permission=Permission.STUDY_ASK,
        input_type=AcceptMemoryFactInput,
        payload=AcceptMemoryFactPayload,
        noun="memory_fact",
        load=study_memory.load_facts,
        text="Lets the tutor use a fact it proposed.",
    )
    forget_fact = mutation(
        study_memory.forget_fact,
        permission=Permission.STUDY_ASK,
        input_type=ForgetFactInput,
        payload=ForgetFactPayload,
        noun="deleted_id",
        load=study_memory.name_forgotten,
        text="Deletes a fact, or a proposal of one.",
        about="MemoryFact",
    )


LOADERS = {"MemoryFact": study_memory.load_facts}
