"""An assignment with submissions, below the API, and a grading team whose members are scripted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import numpy as np
import pytest
from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken
from sqlalchemy import func, select, update

from agents.grading.brief import Role as Seat
from agents.grading.members import GradeTask, MemberIdentity
from agents.grading.team import GradingTeam
from agents.grading.verdict import CriterionVerdict, FeedbackText, GradeRequest, GradeVerdict
from agents.ports import Usage
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.database import Database, add, fetch
from persistence.followers import StreamFollowers, open_followers
from persistence.lifecycle.submissions import AttemptState, SubmissionState
from persistence.roles import Role
from persistence.streams import Sequencer
from persistence.tables.assignments import (
    AssignmentKind,
    AssignmentRow,
    CriterionRow,
    LevelRow,
    QuestionRow,
    RubricRow,
    RubricVersionRow,
    rubric_versions,
)
from persistence.tables.base import table_of
from persistence.tables.courses import CourseRow, EnrollmentRow
from persistence.tables.grades import GradeRow, GradeVersionRow
from persistence.tables.grading import GradingRunRow, GradingTaskRow, grading_runs, grading_tasks
from persistence.tables.identity import OrganizationRow, RoleGrantRow, UserRow
from persistence.tables.submissions import AttemptRow, QuestionResponseRow, SubmissionRow
from persistence.users import Proof, find_viewer
from resolvers import grades, grading, mutations
from resolvers.access import Permission
from resolvers.audit import Action
from resolvers.context import RequestContext
from resolvers.global_ids import global_id
from resolvers.grading_work import feed, grade_task
from resolvers.work import WorkResources
from tests.embedders import only

ANSWER = "The router reads the address and forwards the packet. It lowers the time to live."
QUOTE = "forwards the packet"
Script = Callable[[Seat, GradeRequest], tuple[Decimal, float]]


class FixedEmbedder:
    """The same unit vector for every text: nothing here depends on retrieval."""

    name = "embedded:fixed@384"

    async def embed(self, texts: Sequence[str]) -> Any:
        vectors = np.zeros((len(texts), 384), dtype=np.float32)
        vectors[:, 0] = 1
        return vectors


class Member(BaseChatAgent):
    """Answers as its `Members` say."""

    def __init__(self, members: "Members", seat: Seat) -> None:
        super().__init__(name=f"seat_{seat.value.lower()}", description="scripted")
        self._members, self._seat = members, seat

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        return (StructuredMessage[GradeVerdict], StructuredMessage[FeedbackText])

    async def on_messages(
        self,
        messages: Sequence[BaseChatMessage],
        cancellation_token: CancellationToken,  # noqa: ARG002 - the base class's name
    ) -> Response:
        message = messages[-1]
        self._members.calls[self._seat] += 1
        await self._members.before(self._seat)
        if isinstance(message, GradeTask):
            verdict = self._members.verdict(self._seat, message.content)
            return Response(
                chat_message=StructuredMessage[GradeVerdict](content=verdict, source=self.name)
            )
        text = FeedbackText(text="Well read.")
        return Response(
            chat_message=StructuredMessage[FeedbackText](content=text, source=self.name)
        )

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Keeps nothing."""


async def at_once(_seat: Seat) -> None:
    """No member waits."""


def four_each(_seat: Seat, _request: GradeRequest) -> tuple[Decimal, float]:
    """Four points for each criterion, surely."""
    return Decimal(4), 0.9


@dataclass
class Members:
    """A scripted grading team; `before` runs in each call, `calls` counts them."""

    script: Script = four_each
    before: Callable[[Seat], Awaitable[None]] = at_once
    cost: int = 10
    calls: Counter[Seat] = field(default_factory=Counter)

    def grader(self, slot: Seat) -> BaseChatAgent:
        return Member(self, slot)

    def arbiter(self) -> BaseChatAgent:
        return Member(self, Seat.ARBITER)

    def feedback_writer(self) -> BaseChatAgent:
        return Member(self, Seat.FEEDBACK)

    def identity(self, role: Seat) -> MemberIdentity:
        return MemberIdentity("scripted", role.value.lower(), "1")

    def cost_micros(self, role: Seat, usage: Usage) -> int:  # noqa: ARG002 - the port's names
        return self.cost

    def verdict(self, seat: Seat, request: GradeRequest) -> GradeVerdict:
        points, confidence = self.script(seat, request)
        return GradeVerdict(
            criteria=[
                CriterionVerdict(
                    criterion_id=c.id,
                    level_id=c.levels[-1].id if points >= 3 else c.levels[0].id,
                    points=points,
                    confidence=confidence,
                    rationale=f"{seat} says so.",
                    quotes=[QUOTE],
                )
                for c in request.criteria
            ],
            off_topic=False,
        )


@dataclass(frozen=True)
class GradingWorld:
    """One course, an instructor, students, a published assignment of one question."""

    database: Database
    bus: Bus
    followers: StreamFollowers
    organization_id: UUID
    course_id: UUID
    instructor: UUID
    outsider: UUID
    assignment: AssignmentRow
    question: QuestionRow
    criteria: tuple[CriterionRow, ...]

    async def context(self, user_id: UUID | None = None) -> RequestContext:
        """A context of this person (the instructor) which can be renewed."""
        who = user_id or self.instructor
        async with self.database.read() as connection:
            viewer = await find_viewer(
                connection, Proof(who, self.organization_id, datetime.max.replace(tzinfo=UTC))
            )

        async def renew() -> RequestContext:
            return await self.context(who)

        return RequestContext(
            database=self.database,
            bus=self.bus,
            followers=self.followers,
            embedders=only(FixedEmbedder()),
            files=cast(Any, None),
            signed_in=viewer,
            correlation_id="test",
            renew=renew,
        )

    def work(self, members: Members | None = None, **values: Any) -> WorkResources:
        """A worker's resources; each call is another worker."""
        team = members or Members()
        resources = WorkResources(
            database=self.database,
            bus=self.bus,
            embedder=FixedEmbedder(),
            embedders=only(FixedEmbedder()),
            grading_team=lambda search, _account: GradingTeam(
                team, search, passages_per_criterion=0
            ),
            study_team=cast(Any, None),
            storage=cast(Any, None),
            fetcher=cast(Any, None),
            lease_seconds=30,
        )
        return replace(resources, **values)

    async def change(
        self,
        work: mutations.Work,
        permission: Permission,
        user_id: UUID | None = None,
        **values: Any,
    ) -> list[UUID]:
        """Runs a mutation as this person (the instructor)."""
        return await mutations.perform(
            await self.context(user_id), Action(work.__name__, permission, None, values), work, None
        )

    async def submit(
        self, text: str = ANSWER, *, late_by: timedelta = timedelta(0), attempts: int = 1
    ) -> SubmissionRow:
        """A new student with a submission."""
        async with self.database.transaction() as connection:
            student = await _person(connection, self.organization_id, "student")
            await add(
                connection,
                EnrollmentRow(
                    organization_id=self.organization_id,
                    course_id=self.course_id,
                    user_id=student,
                    role=Role.STUDENT,
                    state="ACTIVE",
                ),
            )
            submission = SubmissionRow(
                organization_id=self.organization_id,
                course_id=self.course_id,
                assignment_id=self.assignment.id,
                student_id=student,
                state=SubmissionState.SUBMITTED,
            )
            await add(connection, submission)
            for number in range(1, attempts + 1):
                await self._attempt(connection, submission, number, text, late_by)
        return submission

    async def _attempt(
        self,
        connection: Any,
        submission: SubmissionRow,
        number: int,
        text: str,
        late_by: timedelta,
    ) -> None:
        attempt = AttemptRow(
            organization_id=self.organization_id,
            course_id=self.course_id,
            assignment_id=self.assignment.id,
            submission_id=submission.id,
            submitted_by=submission.student_id,
            number=number,
            sha256="0" * 64,
            submitted_at=datetime.now(UTC),
            late_by=late_by,
            state=AttemptState.READY,
        )
        await add(connection, attempt)
        await add(
            connection,
            QuestionResponseRow(
                organization_id=self.organization_id,
                attempt_id=attempt.id,
                question_id=self.question.id,
                text=text,
            ),
        )

    async def start(self, *, feeding: bool = True, **values: Any) -> UUID:
        """Starts a run of the assignment and, with `feeding`, has it taken up."""
        (run_id,) = await self.change(
            grading.start_grading_run,
            Permission.RUN_CONTROL,
            assignment_id=global_id("Assignment", self.assignment.id),
            **{"budget_micros": None, "currency": "USD"} | values,
        )
        async with self.database.transaction() as connection:  # no routine check by chance
            await connection.execute(
                update(grading_runs)
                .where(grading_runs.c.id == run_id)
                .values(config=grading_runs.c.config.op("||")({"sample_rate": "0"}))
            )
        if feeding:
            await feed(self.work())
        return run_id

    async def control(self, work: mutations.Work, run_id: UUID, **values: Any) -> None:
        """Pauses, resumes or cancels a run."""
        await self.change(
            work, Permission.RUN_CONTROL, run_id=global_id("GradingRun", run_id), **values
        )

    async def run(self, run_id: UUID) -> GradingRunRow:
        """The run as it is now."""
        row: GradingRunRow
        (row,) = await self.rows(GradingRunRow, grading_runs.c.id == run_id)
        return row

    async def tasks(self, run_id: UUID) -> Sequence[GradingTaskRow]:
        """Its tasks as they are now."""
        return await self.rows(GradingTaskRow, grading_tasks.c.run_id == run_id)

    async def rows(self, shape: type[Any], *conditions: Any) -> Sequence[Any]:
        """The rows of a table."""
        async with self.database.read() as connection:
            return await fetch(connection, select(table_of(shape)).where(*conditions), shape)

    async def count(self, shape: type[Any]) -> int:
        """How many rows a table has."""
        async with self.database.read() as connection:
            count = await connection.scalar(select(func.count()).select_from(table_of(shape)))
            return count or 0

    async def expire(self, task_id: UUID) -> None:
        """Lets the lease of a task run out now."""
        async with self.database.transaction() as connection:
            await connection.execute(
                update(grading_tasks)
                .where(grading_tasks.c.id == task_id)
                .values(lease_until=datetime.now(UTC) - timedelta(seconds=1))
            )

    async def number(self) -> None:
        """Numbers the pending events."""
        while await Sequencer(self.database, self.bus).number():
            pass

    async def grade_all(self, run_id: UUID, members: Members | None = None) -> None:
        """Grades every task of a run, one after the other."""
        work = self.work(members)
        for task in await self.tasks(run_id):
            await grade_task(work, task.id)

    async def graded(self, members: Members | None = None, **values: Any) -> SubmissionRow:
        """A submission that a run has graded."""
        submission = await self.submit(**values)
        await self.grade_all(await self.start(), members)
        return submission

    async def grade(self, submission: SubmissionRow) -> GradeRow:
        """The submission's grade row."""
        table = table_of(GradeRow)
        row: GradeRow
        (row,) = await self.rows(GradeRow, table.c.submission_id == submission.id)
        return row

    async def version(self, grade: GradeRow) -> GradeVersionRow:
        """The version in force."""
        table = table_of(GradeVersionRow)
        row: GradeVersionRow
        (row,) = await self.rows(GradeVersionRow, table.c.grade_id == grade.id, table.c.is_current)
        return row

    async def adjust(self, grade: GradeRow, **values: Any) -> None:
        """Decides a grade as the instructor."""
        await self.change(
            grades.adjust_grade,
            Permission.GRADE_ASSESS,
            grade_id=global_id("Grade", grade.id),
            **{"scores": [], "feedback": None, "reason": "Looked at it."} | values,
        )


async def _person(connection: Any, organization_id: UUID, name: str) -> UUID:
    user = UserRow(organization_id=organization_id, email="", name=name)
    user.email = f"{user.id}@example.edu"
    await add(connection, user)
    return user.id


@pytest.fixture
async def grading_world(database: Database) -> AsyncIterator[GradingWorld]:
    """The course with its assignment, nothing handed in."""
    async with (
        open_bus(database) as bus,
        open_followers(database, bus, poll_seconds=0.2) as followers,
    ):
        yield await _make(database, bus, followers)


async def _make(database: Database, bus: Bus, followers: StreamFollowers) -> GradingWorld:
    organization = OrganizationRow(name="Test", slug="test")
    async with database.transaction() as connection:
        await add(connection, organization)
        key = organization.id
        instructor = await _person(connection, key, "instructor")
        outsider = await _person(connection, key, "outsider")
        course = CourseRow(organization_id=key, code="NET", title="Networks")
        await add(connection, course)
        await add(
            connection,
            RoleGrantRow(
                organization_id=key,
                user_id=instructor,
                role=Role.INSTRUCTOR,
                course_id=course.id,
                reason="test",
            ),
        )
        version, criteria = await _rubric(connection, course)
        assignment = AssignmentRow(
            organization_id=key,
            course_id=course.id,
            title="Routers",
            kind=AssignmentKind.SHORT_ANSWER,
            instructions="",
            points=Decimal(10),
            late_policy={"percent_per_day": "10", "cap_percent": "50", "grace_minutes": 0},
            state="PUBLISHED",
        )
        await add(connection, assignment)
        question = QuestionRow(
            organization_id=key,
            course_id=course.id,
            assignment_id=assignment.id,
            position=0,
            prompt="What does a router do?",
            points=Decimal(10),
            rubric_version_id=version,
        )
        await add(connection, question)
    return GradingWorld(
        database=database,
        bus=bus,
        followers=followers,
        organization_id=key,
        course_id=course.id,
        instructor=instructor,
        outsider=outsider,
        assignment=assignment,
        question=question,
        criteria=criteria,
    )


async def _rubric(connection: Any, course: CourseRow) -> tuple[UUID, tuple[CriterionRow, ...]]:
    key = course.organization_id
    rubric = RubricRow(organization_id=key, course_id=course.id, title="Two criteria")
    await add(connection, rubric)
    version = RubricVersionRow(
        organization_id=key,
        course_id=course.id,
        rubric_id=rubric.id,
        number=1,
        content_hash="0",
    )
    await add(connection, version)
    criteria = tuple(
        CriterionRow(
            organization_id=key,
            rubric_version_id=version.id,
            position=i,
            title=title,
            guidelines=title,
            points=Decimal(5),
        )
        for i, title in enumerate(("Forwarding", "Lifetime"))
    )
    await add(connection, *criteria)
    for criterion in criteria:
        await add(
            connection,
            *(
                LevelRow(
                    organization_id=key,
                    criterion_id=criterion.id,
                    position=i,
                    title=title,
                    description=title,
                    min_points=Decimal(least),
                    max_points=Decimal(most),
                )
                for i, (title, least, most) in enumerate((("Low", 0, 3), ("High", 3, 5)))
            ),
        )
    await connection.execute(
        update(rubric_versions).where(rubric_versions.c.id == version.id).values(state="PUBLISHED")
    )
    return version.id, criteria


@dataclass
class Gate:
    """Holds members back: they arrive, then wait until it is opened."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _seat: Seat) -> None:
        self.arrived.set()
        await self.opened.wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what is about to become true, ten seconds at the most."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - the condition is in the database
            await asyncio.sleep(0.02)


__all__ = ["Gate", "GradingWorld", "Members", "grading_world", "until"]
