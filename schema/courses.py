"""Courses and enrolments, as the API shows them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.lifecycle.courses import EnrollmentState
from persistence.roles import Role
from resolvers import (
    assignments,
    budgets,
    courses,
    documents,
    model_choices,
    rubrics,
    study,
    users,
    web,
)
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.assignments import Assignment
from schema.documents import Document
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, root_field
from schema.model_choices import ModelChoice
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection, connections
from schema.rubrics import Rubric
from schema.users import User
from schema.web import WebPolicy

if TYPE_CHECKING:
    from schema.budgets import ModelBudget
    from schema.study import StudySession

ModelBudgetRef = Annotated["ModelBudget", strawberry.lazy("schema.budgets")]
StudySessionRef = Annotated["StudySession", strawberry.lazy("schema.study")]

described_enum(
    EnrollmentState,
    "Where an enrolment stands.",
    INVITED="Asked to join.",
    ACTIVE="Takes part.",
    INACTIVE="Kept, without access for now.",
    COMPLETED="Has finished the course.",
    REMOVED="Taken off the course.",
)


CourseRef = Annotated["Course", strawberry.lazy("schema.courses")]


@strawberry.type(description="A person's place in a course.")
class Enrollment(Node):
    role: Role = described("What they are in the course.")
    state: EnrollmentState = described("Where the enrolment stands.")

    @batched("The person.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [e.user_id for e in parents])

    @batched("The course; null for who does not see it, as before an invitation is accepted.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[CourseRef | None]:
        return await courses.get_seen_courses(context, [e.course_id for e in parents])


@strawberry.type(description="A course: its material, its people, its assignments.")
class Course(Node):
    code: str = described("Its code, unique in the organization.")
    title: str = described("Its title.")
    language: str = described("The language it is held in, as a BCP 47 tag.")
    time_zone: str = described("The IANA time zone its deadlines are read in.")

    @batched("What of the web the tutor may search here.")
    async def web_policy(parents: Sequence[Any], context: RequestContext) -> Sequence[WebPolicy]:
        return await web.get_policies(parents, context)

    @batched("Which language models sit where here; for those who choose them, else null.")
    async def model_choices(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[ModelChoice] | None]:
        return await model_choices.list_choices_of_courses(parents, context)

    @batched(
        "What may be spent on language models here this month; null with an error for who does "
        "not read it."
    )
    async def model_budget(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[ModelBudgetRef | None]:
        return await budgets.list_budgets_of_courses(parents, context)

    @batched(
        "Who is enrolled; for those who manage it, else null with an error.",
        first=FIRST,
        after=AFTER,
    )
    async def enrollments(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Enrollment] | None]:
        return connections(await courses.list_enrollments(parents, context, first, after))

    @batched("The assignments the viewer sees, oldest first.", first=FIRST, after=AFTER)
    async def assignments(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Assignment]]:
        return connections(await assignments.list_assignments(parents, context, first, after))

    @batched("The rubrics; for those who design the course.", first=FIRST, after=AFTER)
    async def rubrics(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Rubric]]:
        return connections(await rubrics.list_rubrics(parents, context, first, after))

    @batched("The material the viewer sees, oldest first.", first=FIRST, after=AFTER)
    async def documents(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Document]]:
        return connections(await documents.list_documents(parents, context, first, after))

    @batched(
        "The study sessions the viewer sees, newest first: their own, and everybody's while they "
        "have the course open by break-glass.",
        first=FIRST,
        after=AFTER,
    )
    async def study_sessions(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[StudySessionRef]]:
        return connections(await study.list_sessions_of_courses(parents, context, first, after))


@strawberry.input(description="A course to be opened.")
class CreateCourseInput:
    code: str = described("Its code, unique in the organization.")
    title: str = described("Its title.")
    language: str = strawberry.field(default="en", description="Its language, as a BCP 47 tag.")
    time_zone: str = strawberry.field(
        default="UTC", description="The IANA time zone its deadlines are read in."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createCourse did.")
class CreateCoursePayload:
    course: Course | None = described("The course; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="People to be enrolled as students.")
class EnrolUsersInput:
    course_id: strawberry.ID = described("The course.")
    emails: list[str] = described("Addresses of up to 100 people known to the organization.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What enrolUsers did.")
class EnrolUsersPayload:
    enrollments: list[Enrollment] | None = described(
        "Their enrolments, in the order given, also of those who were enrolled before; null when "
        "refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An enrolment to be ended.")
class RemoveEnrollmentInput:
    enrollment_id: strawberry.ID = described("The enrolment.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What removeEnrollment did.")
class RemoveEnrollmentPayload:
    enrollment: Enrollment | None = described("The enrolment, now REMOVED; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="What of the web the tutor of a course may search.")
class SetWebPolicyInput:
    course_id: strawberry.ID = described("The course.")
    enabled: bool = strawberry.field(default=True, description="Whether it may search at all.")
    allowed_domains: list[str] = strawberry.field(
        default_factory=list,
        description="Only these domains (up to 100) and what is below them; empty for all.",
    )
    denied_domains: list[str] = strawberry.field(
        default_factory=list,
        description="Never these domains (up to 100) nor what is below them.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What setWebPolicy did.")
class SetWebPolicyPayload:
    course: Course | None = described("The course; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class CourseMutations:
    set_web_policy = mutation(
        web.set_web_policy,
        permission=Permission.DOCUMENT_WRITE,
        input_type=SetWebPolicyInput,
        payload=SetWebPolicyPayload,
        noun="course",
        load=courses.load_courses,
        text="Says what of the web the tutor of a course may search.",
    )
    create_course = mutation(
        courses.create_course,
        permission=Permission.COURSE_CREATE,
        input_type=CreateCourseInput,
        payload=CreateCoursePayload,
        noun="course",
        load=courses.load_courses,
        text="Opens a course.",
    )
    enrol_users = mutation(
        courses.enrol_users,
        permission=Permission.ENROLMENT_WRITE,
        input_type=EnrolUsersInput,
        payload=EnrolUsersPayload,
        noun="enrollments",
        load=courses.load_enrollments,
        many=True,
        text="Enrols people as students of a course, again if they had left.",
    )
    remove_enrollment = mutation(
        courses.remove_enrollment,
        permission=Permission.ENROLMENT_WRITE,
        input_type=RemoveEnrollmentInput,
        payload=RemoveEnrollmentPayload,
        noun="enrollment",
        load=courses.load_enrollments,
        text="Ends somebody's being a student of a course. Their work and grades stay.",
    )


@strawberry.type
class CourseQueries:
    @root_field(
        "The viewer's courses by code; all of the organization's for an admin.",
        first=FIRST,
        after=AFTER,
    )
    async def courses(
        context: RequestContext, first: int = 20, after: str | None = None
    ) -> Connection[Course]:
        return connection(await courses.list_courses(context, first, after))


LOADERS = {"Course": courses.load_courses, "Enrollment": courses.load_enrollments}
