"""Break-glass: a course laid open to an admin or auditor for a while, for a reason that is kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from persistence import break_glass as glasses
from persistence import courses
from persistence.followers import RIGHTS_TOPIC
from persistence.keyset import Page
from persistence.roles import Role
from persistence.tables.identity import BreakGlassRow
from resolvers import checks
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order
from resolvers.refusals import Refusal, RefusalCode

MOST_MINUTES = 60


def in_force(glass: BreakGlassRow, now: datetime) -> bool:
    """Whether it keeps the course open."""
    return glass.ended_at is None and glass.expires_at > now


async def load_glasses(context: RequestContext, ids: Sequence[UUID]) -> list[BreakGlassRow | None]:
    """By id; None for what the viewer does not see."""
    async with context.database.read() as connection:
        return in_order(ids, await glasses.glasses_by_id(connection, context.viewer, ids))


async def list_glasses(
    context: RequestContext, course_id: str | None, first: int, after: str | None
) -> Page[BreakGlassRow]:
    """Those the viewer sees, newest first; of one course when given."""
    course = None if course_id is None else key_of(course_id, "Course", ("courseId",))
    async with context.database.read() as connection:
        return await glasses.page_of_glasses(
            connection, context.viewer, course, checks.page_size(first), after
        )


async def break_glass(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    reason: str,
    minutes: int,
) -> UUID:
    """Opens the course's work, grades, runs and study sessions to the viewer, to read.

    An admin also writes its assignments and rubrics. One who has it open already is refused.
    """
    path = ("input", "courseId")
    key = key_of(course_id, "Course", path)
    viewer = context.require(Permission.GLASS_BREAK, key)
    if not 1 <= minutes <= MOST_MINUTES:
        raise checks.bad("minutes", f"minutes lies between 1 and {MOST_MINUTES}.")
    connection = transaction.connection
    if not await courses.courses_by_id(connection, viewer, [key]):
        raise missing("course", path)
    if await glasses.glass_in_force(connection, viewer.user_id, key) is not None:
        message = "You have this course open already. End that first, or wait for its end."
        raise Refusal(RefusalCode.INVALID_STATE, message, path)
    made = await glasses.open_course(
        connection,
        organization_id=viewer.organization_id,
        user_id=viewer.user_id,
        role=Role.ADMIN if viewer.is_admin else Role.AUDITOR,
        course_id=key,
        reason=checks.line(reason, "reason", most=500),
        lasting=timedelta(minutes=minutes),
    )
    transaction.hint(RIGHTS_TOPIC)
    return made


async def end_break_glass(
    context: RequestContext, transaction: Transaction, *, break_glass_id: str
) -> UUID:
    """Closes the course again, at once: who opened it, or an admin."""
    path = ("input", "breakGlassId")
    key = key_of(break_glass_id, "BreakGlass", path)
    connection = transaction.connection
    found = await glasses.glasses_by_id(connection, context.viewer, [key])
    if not found:
        raise missing("break-glass", path)
    viewer = context.require(Permission.GLASS_BREAK, found[0].course_id)
    if found[0].user_id != viewer.user_id and not viewer.is_admin:
        raise Refusal(RefusalCode.FORBIDDEN, "Only who opened it or an admin ends it.", path)
    if not in_force(found[0], context.now()):
        raise Refusal(RefusalCode.INVALID_STATE, "It has ended already.", path)
    await glasses.end_glass(connection, key, viewer.user_id)
    transaction.hint(RIGHTS_TOPIC)
    return key
