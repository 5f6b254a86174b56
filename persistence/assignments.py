"""Assignments, their questions and anchor papers."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Connection, change, fetch, fetch_one
from persistence.keyset import Page, pages_by_parent
from persistence.lifecycle.assignments import AssignmentState
from persistence.tables.assignments import (
    AnchorPaperRow,
    AssignmentRow,
    GuardedQuestionRow,
    QuestionRow,
    anchor_papers,
    assignments,
    guarded_questions,
    questions,
)
from persistence.visibility import Viewer, sees_as_designer, sees_assignments


async def assignments_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[AssignmentRow]:
    """Those of `ids` the viewer sees."""
    return await fetch(
        connection,
        select(assignments).where(assignments.c.id.in_(ids), sees_assignments(assignments, viewer)),
        AssignmentRow,
    )


async def pages_of_assignments(
    connection: Connection,
    viewer: Viewer,
    course_ids: Sequence[UUID],
    first: int,
    after: str | None,
) -> list[Page[AssignmentRow]]:
    """The assignments of each course the viewer sees, oldest first."""
    return await pages_by_parent(
        connection,
        select(assignments).where(sees_assignments(assignments, viewer)),
        shape=AssignmentRow,
        parent=assignments.c.course_id,
        parents=course_ids,
        key=[assignments.c.id],
        first=first,
        after=after,
    )


async def questions_of(
    connection: Connection, assignment_ids: Sequence[UUID]
) -> Sequence[QuestionRow]:
    """The questions of these assignments, in their order."""
    return await fetch(
        connection,
        select(questions)
        .where(questions.c.assignment_id.in_(assignment_ids))
        .order_by(questions.c.assignment_id, questions.c.position),
        QuestionRow,
    )


async def questions_by_id(
    connection: Connection, organization_id: UUID, ids: Sequence[UUID]
) -> Sequence[QuestionRow]:
    """Questions of the organization."""
    return await fetch(
        connection,
        select(questions).where(
            questions.c.id.in_(ids), questions.c.organization_id == organization_id
        ),
        QuestionRow,
    )


async def question_of_designer(
    connection: Connection, viewer: Viewer, key: UUID
) -> QuestionRow | None:
    """A question of a course the viewer designs."""
    return await fetch_one(
        connection,
        select(questions).where(questions.c.id == key, sees_as_designer(questions, viewer)),
        QuestionRow,
    )


async def anchor_papers_of(
    connection: Connection, question_ids: Sequence[UUID]
) -> Sequence[AnchorPaperRow]:
    """The anchor papers of these questions, oldest first."""
    return await fetch(
        connection,
        select(anchor_papers)
        .where(anchor_papers.c.question_id.in_(question_ids))
        .order_by(anchor_papers.c.id),
        AnchorPaperRow,
    )


async def anchor_papers_by_id(
    connection: Connection, viewer: Viewer, ids: Sequence[UUID]
) -> Sequence[AnchorPaperRow]:
    """Anchor papers of the courses the viewer designs."""
    return await fetch(
        connection,
        select(anchor_papers).where(
            anchor_papers.c.id.in_(ids), sees_as_designer(anchor_papers, viewer)
        ),
        AnchorPaperRow,
    )


async def move_assignment(
    connection: Connection, key: UUID, source: AssignmentState, target: AssignmentState
) -> None:
    """Changes an assignment's state. Raises `Conflict`."""
    await change(
        connection,
        update(assignments)
        .where(assignments.c.id == key, assignments.c.state == source)
        .values(state=target, version=assignments.c.version + 1),
    )


async def count_guarded(
    connection: Connection, organization_id: UUID, assignment_id: UUID, guarding: str
) -> None:
    """Counts a question that the tutor kept from this assignment."""
    counted = insert(guarded_questions).values(
        organization_id=organization_id,
        assignment_id=assignment_id,
        guarding=guarding,
        questions=1,
    )
    await connection.execute(
        counted.on_conflict_do_update(
            index_elements=["assignment_id", "guarding"],
            set_={"questions": guarded_questions.c.questions + 1},
        )
    )


async def guarded_of(
    connection: Connection, assignment_ids: Sequence[UUID]
) -> Sequence[GuardedQuestionRow]:
    """The counts of these assignments."""
    return await fetch(
        connection,
        select(guarded_questions)
        .where(guarded_questions.c.assignment_id.in_(assignment_ids))
        .order_by(guarded_questions.c.guarding),
        GuardedQuestionRow,
    )
