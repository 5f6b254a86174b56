"""The audit log, as the API shows it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.tables.audit import Outcome
from resolvers import audit, courses, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.global_ids import global_id
from resolvers.refusals import RefusalCode
from schema.courses import Course
from schema.enums import described_enum
from schema.fields import batched, described, root_field
from schema.node import AFTER, FIRST, Connection, Node, connection
from schema.users import User

described_enum(
    Outcome,
    "What became of an action.",
    DONE="It was done.",
    REFUSED="It was understood and declined; nothing was changed.",
    FAILED="Something unforeseen went wrong; nothing was changed.",
)


@strawberry.type(description="A value of an action's input.")
class AuditChange:
    path: str = described("Where in the input it stood, as in `users.0.email`.")
    value: str | None = described(
        "The value; null where it was erased, and for what its own object keeps: long texts, and "
        "what students write."
    )
    commitment: str | None = described(
        "SHA-256 of a salt and the value, which the chain holds in its place; null for ids, "
        "numbers and names of ours, which stand in the chain themselves."
    )
    erased: bool = described("Whether the value was erased with its person's data.")


@strawberry.type(description="Something somebody did or tried to do. It is never changed.")
class AuditEvent(Node):
    at: datetime = described("When.")
    action: str = described("The mutation, or another action: `signIn`, `createAdmin`, …")
    permission: Permission | None = described("The permission it needs; null where it needs none.")
    outcome: Outcome = described("What became of it.")
    refusal_code: RefusalCode | None = described("Why it was declined; null where it was done.")
    correlation_id: str | None = described("The request's id in the server's log.")
    seq: int | None = described(
        "Its number in the organization's chain; null for the seconds until it is sealed."
    )

    @strawberry.field(description="The hash that seals it and all before it, in hex; null before.")
    def hash(root: Any) -> str | None:
        return None if root.hash is None else str(root.hash.hex())

    @strawberry.field(description="What it made or changed.")
    def object_ids(root: Any) -> list[strawberry.ID]:
        named = root.object_ids if root.object_type else []
        return [strawberry.ID(global_id(root.object_type, key)) for key in named]

    @batched("Who did it; null for the server's command line.")
    async def actor(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await users.get_users(context, [e.actor_id for e in parents])

    @batched("Who acted as the actor; null where nobody did.")
    async def real_actor(parents: Sequence[Any], context: RequestContext) -> Sequence[User | None]:
        return await users.get_users(context, [e.real_actor_id for e in parents])

    @batched("The course it was done in; null for none, for several, and where it is not yours.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course | None]:
        return await courses.get_seen_courses(context, [e.course_id for e in parents])

    @batched("What was asked for.")
    async def changes(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[AuditChange]]:
        return await audit.list_changes(parents, context)


@strawberry.type
class AuditQueries:
    @root_field(
        "What was done, newest first: an admin or auditor sees all, an instructor what staff did "
        "in their courses, everybody what they did themselves.",
        actor_id="By this person alone.",
        course_id="In this course alone.",
        object_id="To this object alone.",
        action="This action alone, as in `grantRole`.",
        outcome="With this outcome alone.",
        since="From this moment on.",
        until="Before this moment.",
        first=FIRST,
        after=AFTER,
    )
    async def audit_events(
        context: RequestContext,
        actor_id: strawberry.ID | None = None,
        course_id: strawberry.ID | None = None,
        object_id: strawberry.ID | None = None,
        action: str | None = None,
        outcome: Outcome | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[AuditEvent]:
        return connection(
            await audit.list_events(
                context,
                actor_id=actor_id,
                course_id=course_id,
                object_id=object_id,
                action=action,
                outcome=outcome,
                since=since,
                until=until,
                first=first,
                after=after,
            )
        )


LOADERS = {"AuditEvent": audit.load_events}
