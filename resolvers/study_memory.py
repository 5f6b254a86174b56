"""What the tutor remembers of a person: theirs alone to read, write, accept and forget."""

from collections.abc import Sequence
from uuid import UUID

from persistence import study_memory
from persistence.database import add
from persistence.keyset import Page
from persistence.lifecycle.study import FactState
from persistence.tables.courses import CourseRow
from persistence.tables.study import MemoryFactRow
from persistence.visibility import Viewer
from resolvers import checks, courses
from resolvers.access import Permission, check, may, missing
from resolvers.context import RequestContext
from resolvers.global_ids import global_id, key_of
from resolvers.mutations import Transaction
from resolvers.ordering import in_order, optional
from resolvers.refusals import Refusal, RefusalCode

MOST_FACTS = 200
LONGEST_FACT = 500
_FACT = ("input", "memoryFactId")


async def list_facts(
    context: RequestContext, course_id: str | None, first: int, after: str | None
) -> Page[MemoryFactRow]:
    """The viewer's own facts, newest first; with a course those its tutor may be told."""
    course = None if course_id is None else key_of(course_id, "Course", ("courseId",))
    async with context.database.read() as connection:
        return await study_memory.page_of_facts(
            connection, context.viewer, course, checks.page_size(first), after
        )


async def load_facts(context: RequestContext, ids: Sequence[UUID]) -> list[MemoryFactRow | None]:
    """Facts by id; None for what is not the viewer's own."""
    async with context.database.read() as connection:
        return in_order(ids, await study_memory.facts_by_id(connection, context.viewer, ids))


async def get_courses(
    parents: Sequence[MemoryFactRow], context: RequestContext
) -> list[CourseRow | None]:
    """The course of each fact; None for one without, or of a course the viewer has left."""
    keys = [fact.course_id for fact in parents]
    rows = await courses.load_courses(context, [key for key in keys if key is not None])
    return optional(keys, [row for row in rows if row is not None])


async def remember_fact(
    context: RequestContext, transaction: Transaction, *, text: str, course_id: str | None
) -> UUID:
    """Writes a fact for the tutor of one course, or for those of all courses one studies in."""
    said = checks.line(text, "text", most=LONGEST_FACT)
    course = None if course_id is None else key_of(course_id, "Course", ("input", "courseId"))
    viewer = _who_asks(context, course)
    known = await study_memory.known_texts(transaction.connection, viewer.user_id)
    if len(known) >= MOST_FACTS:
        raise Refusal(
            RefusalCode.LIMIT_EXCEEDED,
            f"The tutor remembers up to {MOST_FACTS} facts of a person. Forget one first.",
        )
    fact = MemoryFactRow(
        organization_id=viewer.organization_id,
        user_id=viewer.user_id,
        course_id=course,
        text=said,
        state=FactState.ACCEPTED,
    )
    await add(transaction.connection, fact)
    return fact.id


def _who_asks(context: RequestContext, course: UUID | None) -> Viewer:
    viewer = context.viewer
    if viewer.scopes is not None:
        raise Refusal(RefusalCode.FORBIDDEN, "Memory is a person's own: sign in yourself.")
    if course is not None:
        return context.require(Permission.STUDY_ASK, course)
    if not any(may(viewer, Permission.STUDY_ASK, key) for key in viewer.member_of):
        check(viewer, Permission.STUDY_ASK)
    return context.note_own(Permission.STUDY_ASK)


async def update_memory_fact(
    context: RequestContext,
    transaction: Transaction,
    *,
    memory_fact_id: str,
    text: str,
    version: int,
) -> UUID:
    """Rewrites a fact; a proposal is accepted by it."""
    said = checks.line(text, "text", most=LONGEST_FACT)
    fact = await _own(context, transaction, memory_fact_id)
    await study_memory.rewrite(transaction.connection, fact, said, version)
    return fact.id


async def accept_memory_fact(
    context: RequestContext, transaction: Transaction, *, memory_fact_id: str
) -> UUID:
    """Lets the tutor use a fact it proposed."""
    fact = await _own(context, transaction, memory_fact_id)
    await study_memory.accept(transaction.connection, fact)
    return fact.id


async def forget_fact(
    context: RequestContext, transaction: Transaction, *, memory_fact_id: str
) -> UUID:
    """Deletes a fact, or a proposal of one."""
    fact = await _own(context, transaction, memory_fact_id)
    await study_memory.forget(transaction.connection, fact.id)
    return fact.id


async def name_forgotten(_context: RequestContext, ids: Sequence[UUID]) -> list[str]:
    """The ids by which clients knew facts that are gone."""
    return [global_id("MemoryFact", key) for key in ids]


async def _own(
    context: RequestContext, transaction: Transaction, memory_fact_id: str
) -> MemoryFactRow:
    key = key_of(memory_fact_id, "MemoryFact", _FACT)
    rows = await study_memory.facts_by_id(transaction.connection, context.viewer, [key])
    if not rows:
        raise missing("memory fact", _FACT)
    context.note_own(Permission.STUDY_ASK)
    return rows[0]
