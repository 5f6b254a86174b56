"""The schema's roots: what can be asked first, and the schema built of them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from resolvers import courses, users
from resolvers.context import RequestContext
from resolvers.global_ids import parse_global_id
from schema.courses import Course, CourseMutations, Enrollment
from schema.fields import root_field
from schema.node import AFTER, FIRST, Connection, Found, Node, connection
from schema.users import Organization, RoleGrant, User, UserMutations, Viewer

Loader = Callable[[RequestContext, Sequence[Any]], Awaitable[Sequence[Any]]]

LOADERS: dict[str, Loader] = {
    "Course": courses.load_courses,
    "Enrollment": courses.load_enrollments,
    "User": users.load_users,
}
"""How `node(id)` reads each type. A type that is not here cannot be read by its id."""


@strawberry.type(description="What can be read.")
class Query:
    @root_field("Who the access token speaks for.")
    async def viewer(context: RequestContext) -> Viewer:
        return await users.get_viewer(context)

    @root_field("Any object by its id; null when there is none that is yours to see.", id="The id.")
    async def node(context: RequestContext, id: strawberry.ID) -> Node | None:  # noqa: A002 - Relay's name
        type_name, key = parse_global_id(id, ("id",))
        if type_name not in LOADERS:
            return None
        (row,) = await LOADERS[type_name](context, [key])
        return None if row is None else Found(type_name, row)  # type: ignore[return-value]  # rows stand for their types

    @root_field(
        "The viewer's courses by code; all of the organization's for an admin.",
        first=FIRST,
        after=AFTER,
    )
    async def courses(
        context: RequestContext, first: int = 20, after: str | None = None
    ) -> Connection[Course]:
        return connection(await courses.list_courses(context, first, after))


@strawberry.type(description="What can be changed. Every mutation takes one input.")
class Mutation(CourseMutations, UserMutations):
    pass


def build_schema() -> strawberry.Schema:
    """The whole schema."""
    return strawberry.Schema(
        query=Query,
        mutation=Mutation,
        types=[Enrollment, Organization, RoleGrant, User],
        config=StrawberryConfig(auto_camel_case=True),
    )
