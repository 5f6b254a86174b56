"""Rubrics, as the API shows them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import strawberry

from persistence.lifecycle.assignments import RubricVersionState
from resolvers import rubrics
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY, Node, part_id

described_enum(
    RubricVersionState,
    "Where a version of a rubric stands.",
    DRAFT="Being written; nothing is graded by it.",
    PUBLISHED="In force and unchangeable.",
    RETIRED="Was in force; grades given by it keep it.",
)


@strawberry.type(description="One step of a criterion.")
class Level:
    id = part_id()
    title: str = described("Its name.")
    description: str = described("What work at this level shows.")
    min_points: Decimal = described("The least it is worth.")
    max_points: Decimal = described("The most it is worth.")


@strawberry.type(description="One thing a rubric judges.")
class Criterion:
    id = part_id()
    title: str = described("Its name.")
    guidelines: str = described("What a grader looks for.")
    points: Decimal = described("What it is worth at the most.")

    @batched("Its levels, lowest first.")
    async def levels(parents: Sequence[Any], context: RequestContext) -> Sequence[list[Level]]:
        return await rubrics.list_levels(parents, context)


@strawberry.type(description="One state of a rubric, unchangeable once published.")
class RubricVersion:
    id = part_id()
    number: int = described("1 for the first.")
    state: RubricVersionState = described("Where it stands.")
    content_hash: str = described("SHA-256 of its content: equal hashes are equal rubrics.")

    @batched("Its criteria, in their order.")
    async def criteria(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[Criterion]]:
        return await rubrics.list_criteria(parents, context)


@strawberry.type(description="A rubric of a course, for those who design it.")
class Rubric(Node):
    title: str = described("Its title.")

    @batched("All its versions, newest first.")
    async def versions(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[RubricVersion]]:
        return await rubrics.list_versions(parents, context)


@strawberry.input(description="A level to be written.")
class NewLevelInput:
    title: str = described("Its name.")
    description: str = described("What work at this level shows.")
    min_points: Decimal = described("The least it is worth.")
    max_points: Decimal = described("The most it is worth; where the next level begins or below.")


@strawberry.input(description="A criterion to be written.")
class NewCriterionInput:
    title: str = described("Its name.")
    guidelines: str = described("What a grader looks for.")
    points: Decimal = described("What it is worth at the most; its highest level ends there.")
    levels: list[NewLevelInput] = described("Its levels, lowest first, 1 to 10.")


@strawberry.input(description="A rubric to be written.")
class CreateRubricInput:
    course_id: strawberry.ID = described("The course.")
    title: str = described("Its title.")
    criteria: list[NewCriterionInput] = described("Its criteria, 1 to 20.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createRubric did.")
class CreateRubricPayload:
    rubric: Rubric | None = described("The rubric with its draft; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="The next version of a rubric.")
class ReviseRubricInput:
    rubric_id: strawberry.ID = described("The rubric.")
    criteria: list[NewCriterionInput] = described("Its criteria, 1 to 20.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What reviseRubric did.")
class ReviseRubricPayload:
    rubric: Rubric | None = described("The rubric with its new draft; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A rubric to be published.")
class PublishRubricInput:
    rubric_id: strawberry.ID = described("The rubric; its newest version is meant.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What publishRubric did.")
class PublishRubricPayload:
    rubric: Rubric | None = described("The rubric; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class RubricMutations:
    create_rubric = mutation(
        rubrics.create_rubric,
        permission=Permission.RUBRIC_WRITE,
        input_type=CreateRubricInput,
        payload=CreateRubricPayload,
        noun="rubric",
        load=rubrics.load_rubrics,
        text="Writes a rubric; its first version is a draft.",
    )
    revise_rubric = mutation(
        rubrics.revise_rubric,
        permission=Permission.RUBRIC_WRITE,
        input_type=ReviseRubricInput,
        payload=ReviseRubricPayload,
        noun="rubric",
        load=rubrics.load_rubrics,
        text="Writes the next version of a rubric; the published one stays in force.",
    )
    publish_rubric = mutation(
        rubrics.publish_rubric,
        permission=Permission.RUBRIC_WRITE,
        input_type=PublishRubricInput,
        payload=PublishRubricPayload,
        noun="rubric",
        load=rubrics.load_rubrics,
        text="Publishes a rubric's newest version; the one before retires.",
    )


LOADERS = {"Rubric": rubrics.load_rubrics}
