"""The schema's roots: what can be asked first, and the schema built of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from resolvers import users
from resolvers.context import RequestContext
from resolvers.global_ids import parse_global_id
from schema import (
    api_tokens,
    assignments,
    audit,
    courses,
    documents,
    grades,
    grading,
    grants,
    privacy,
    retrieval,
    rubrics,
    study,
    submissions,
)
from schema import users as people
from schema.fields import root_field
from schema.node import Found, Node
from schema.scalars import SCALARS

Loader = Callable[[RequestContext, Sequence[Any]], Awaitable[Sequence[Any]]]

NOUNS = (
    api_tokens,
    assignments,
    audit,
    courses,
    documents,
    grades,
    grading,
    grants,
    people,
    privacy,
    retrieval,
    rubrics,
    study,
    submissions,
)

LOADERS: dict[str, Loader] = {
    type_name: load for noun in NOUNS for type_name, load in noun.LOADERS.items()
}
"""How `node(id)` reads each type. A type that is not here cannot be read by its id."""


@strawberry.type(description="What can be read.")
class Query(
    api_tokens.ApiTokenQueries,
    audit.AuditQueries,
    courses.CourseQueries,
    grants.GrantQueries,
    privacy.PrivacyQueries,
    retrieval.RetrievalQueries,
):
    @root_field("Who the access token speaks for.")
    async def viewer(context: RequestContext) -> people.Viewer:
        return await users.get_viewer(context)

    @root_field("Any object by its id; null when there is none that is yours to see.", id="The id.")
    async def node(context: RequestContext, id: strawberry.ID) -> Node | None:  # noqa: A002 - Relay's name
        type_name, key = parse_global_id(id, ("id",))
        if type_name not in LOADERS:
            return None
        (row,) = await LOADERS[type_name](context, [key])
        return None if row is None else Found(type_name, row)


@strawberry.type(description="What can be changed. Every mutation takes one input.")
class Mutation(
    api_tokens.ApiTokenMutations,
    assignments.AssignmentMutations,
    courses.CourseMutations,
    documents.DocumentMutations,
    grades.GradeMutations,
    grading.GradingMutations,
    grants.GrantMutations,
    people.UserMutations,
    privacy.PrivacyMutations,
    rubrics.RubricMutations,
    study.StudyMutations,
    submissions.SubmissionMutations,
):
    pass


@strawberry.type(description="What can be followed live.")
class Subscription(grading.GradingSubscriptions, study.StudySubscriptions):
    pass


def build_schema() -> strawberry.Schema:
    """The whole schema."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
