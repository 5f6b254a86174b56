"""The schema's roots: what can be asked first, and the schema built of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from resolvers import users
from resolvers.context import RequestContext
from resolvers.global_ids import parse_global_id
from schema import (
    allocations,
    api_tokens,
    assignments,
    audit,
    break_glass,
    budgets,
    courses,
    custom_roles,
    documents,
    enrollment_imports,
    grades,
    grading,
    grants,
    invitations,
    model_choices,
    organizations,
    privacy,
    providers,
    retrieval,
    rubrics,
    study,
    study_memory,
    study_sessions,
    study_turns,
    submissions,
    uploads,
    usage,
)
from schema import users as people
from schema.fields import root_field
from schema.node import Found, Node
from schema.scalars import SCALARS

Loader = Callable[[RequestContext, Sequence[Any]], Awaitable[Sequence[Any]]]

NOUNS = (
    allocations,
    api_tokens,
    assignments,
    audit,
    break_glass,
    courses,
    custom_roles,
    documents,
    enrollment_imports,
    grades,
    grading,
    grants,
    invitations,
    organizations,
    people,
    privacy,
    providers,
    retrieval,
    rubrics,
    study,
    study_memory,
    submissions,
    uploads,
)

LOADERS: dict[str, Loader] = {
    type_name: load for noun in NOUNS for type_name, load in noun.LOADERS.items()
}
"""How `node(id)` reads each type. A type that is not here cannot be read by its id."""


@strawberry.type(description="What can be read.")
class Query(
    api_tokens.ApiTokenQueries,
    audit.AuditQueries,
    break_glass.BreakGlassQueries,
    courses.CourseQueries,
    custom_roles.CustomRoleQueries,
    grants.GrantQueries,
    invitations.InvitationQueries,
    model_choices.ModelChoiceQueries,
    providers.ProviderQueries,
    retrieval.RetrievalQueries,
    study.StudyQueries,
    study_memory.StudyMemoryQueries,
    usage.UsageQueries,
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
    allocations.AllocationMutations,
    api_tokens.ApiTokenMutations,
    assignments.AssignmentMutations,
    break_glass.BreakGlassMutations,
    budgets.BudgetMutations,
    courses.CourseMutations,
    custom_roles.CustomRoleMutations,
    documents.DocumentMutations,
    enrollment_imports.EnrollmentImportMutations,
    grades.GradeMutations,
    grading.GradingMutations,
    grants.GrantMutations,
    invitations.InvitationMutations,
    model_choices.ModelChoiceMutations,
    organizations.OrganizationMutations,
    people.UserMutations,
    privacy.PrivacyMutations,
    providers.ProviderMutations,
    rubrics.RubricMutations,
    study_memory.StudyMemoryMutations,
    study_sessions.StudySessionMutations,
    study_turns.StudyTurnMutations,
    submissions.SubmissionMutations,
    uploads.UploadMutations,
):
    pass


@strawberry.type(description="What can be followed live.")
class Subscription(
    documents.DocumentSubscriptions, grading.GradingSubscriptions, study.StudySubscriptions
):
    pass


def build_schema() -> strawberry.Schema:
    """The whole schema."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
    )
