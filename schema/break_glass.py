"""Break-glass, as the API shows it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.roles import Role
from resolvers import break_glass as glasses
from resolvers import courses, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.courses import Course
from schema.fields import UserError, batched, described, mutation, root_field
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection
from schema.users import User


@strawberry.type(
    description="A course laid open to an admin or auditor for a while. It gives reading of its "
    "submissions, grades, runs and study sessions; an admin also writes assignments and rubrics. "
    "It never gives grading, finalising or releasing."
)
class BreakGlass(Node):
    role: Role = described("The role it was opened under: ADMIN or AUDITOR. It ends with the role.")
    reason: str = described("Why it was opened.")
    created_at: datetime = described("When it was opened.")
    expires_at: datetime = described("When it ends by itself.")
    ended_at: datetime | None = described("When it was ended before that; null when it was not.")

    @batched("Who opened it.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [g.user_id for g in parents])

    @batched("The course.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course]:
        return await courses.get_courses(context, [g.course_id for g in parents])

    @batched("Who ended it before its time; null when nobody did.")
    async def ended_by(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await users.get_users(context, [g.ended_by for g in parents])


@strawberry.input(description="A course to be opened, and why.")
class BreakGlassInput:
    course_id: strawberry.ID = described("The course.")
    reason: str = described("Why; those who run the course read it.")
    minutes: int = strawberry.field(default=15, description="For how long, 1 to 60.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What breakGlass did.")
class BreakGlassPayload:
    break_glass: BreakGlass | None = described("What was opened, until when; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="What is to be closed again.")
class EndBreakGlassInput:
    break_glass_id: strawberry.ID = described("The break-glass.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What endBreakGlass did.")
class EndBreakGlassPayload:
    break_glass: BreakGlass | None = described("What was closed; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class BreakGlassQueries:
    @root_field(
        "Who opened which course in an emergency, newest first, ended ones too: an admin or "
        "auditor all, an instructor those of their courses.",
        course_id="Of this course alone.",
        first=FIRST,
        after=AFTER,
    )
    async def break_glasses(
        context: RequestContext,
        course_id: strawberry.ID | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[BreakGlass]:
        return connection(await glasses.list_glasses(context, course_id, first, after))


@strawberry.type
class BreakGlassMutations:
    break_glass = mutation(
        glasses.break_glass,
        permission=Permission.GLASS_BREAK,
        input_type=BreakGlassInput,
        payload=BreakGlassPayload,
        noun="break_glass",
        load=glasses.load_glasses,
        text="Opens a course to an admin or auditor for up to an hour, for a reason that stays in "
        "the audit log and that its instructors read.",
    )
    end_break_glass = mutation(
        glasses.end_break_glass,
        permission=Permission.GLASS_BREAK,
        input_type=EndBreakGlassInput,
        payload=EndBreakGlassPayload,
        noun="break_glass",
        load=glasses.load_glasses,
        text="Closes the course again at once, for open subscriptions too: who opened it, or an "
        "admin.",
    )


LOADERS = {"BreakGlass": glasses.load_glasses}
