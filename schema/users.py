"""People, as the API shows them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from persistence.roles import Role
from resolvers import allocations, grades, study, users
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connection
from schema.organizations import Organization

if TYPE_CHECKING:
    from schema.allocations import MarkingAllocation
    from schema.grades import Grade
    from schema.study import StudySession

AllocationRef = Annotated["MarkingAllocation", strawberry.lazy("schema.allocations")]
GradeRef = Annotated["Grade", strawberry.lazy("schema.grades")]
StudySessionRef = Annotated["StudySession", strawberry.lazy("schema.study")]

described_enum(
    Role,
    "A role a person can hold.",
    ADMIN="Runs the organization: people, roles, courses.",
    AUDITOR="Reads grades and the audit log of the organization.",
    INSTRUCTOR="Runs a course: material, rubrics, grading, release.",
    MODERATOR="Decides double marking and regrades of work allocated to them.",
    GRADER="Assesses work allocated to them.",
    BLIND_GRADER="Assesses redacted work allocated to them.",
    DESIGNER="Writes a course's rubrics, assignments and material.",
    STUDENT="Studies, submits, reads their own released grades.",
    OBSERVER="Reads the released grades of the student their grant names.",
)

described_enum(
    Permission,
    "Something a role lets a person do.",
    VIEWER_READ="Read who one is.",
    ORGANIZATION_WRITE="Decide how long data is kept and which providers get some.",
    COURSE_CREATE="Open courses.",
    USER_CREATE="Make people known to the organization.",
    USER_SUSPEND="Shut people out and let them in again.",
    USER_EXPORT="Hand over all that is stored of a person.",
    USER_ERASE="Erase a person's data.",
    USER_IMPERSONATE="See, for some minutes, what another person sees.",
    TOKEN_CREATE="Make tokens for services.",  # noqa: S106 - a description
    ROLE_GRANT="Give and take roles.",
    ENROLMENT_WRITE="Enrol students and end enrolments.",
    DOCUMENT_WRITE="Add and take away a course's material.",
    DOCUMENT_READ="Read and search a course's material.",
    STUDY_ASK="Ask the tutor about a course's material.",
    STUDY_READ="Read the study sessions students share with a course's instructors.",
    RUBRIC_WRITE="Write rubrics.",
    ASSIGNMENT_WRITE="Write assignments and anchor papers.",
    SUBMISSION_WRITE="Hand in work.",
    SUBMISSION_READ="Read every submission of a course.",
    SUBMISSION_PROXY="Hand in work for a student.",
    RUN_CONTROL="Start, pause and cancel grading runs.",
    RUN_FOLLOW="Follow grading runs.",
    MARKING_ALLOCATE="Give people submissions to mark.",
    GRADE_READ="Read other people's grades, released or not; markers those of work allocated to "
    "them.",
    GRADE_ASSESS="Decide points; markers of work allocated to them.",
    GRADE_DECIDE="Finalise grades; moderators those allocated to them.",
    GRADE_RELEASE="Release grades.",
    AUDIT_READ="Read what others did.",
    GLASS_BREAK="Open a course for a while in an emergency.",
    MODEL_CHOOSE="Choose the language models of a course, or of the organization.",
    BUDGET_WRITE="Decide what may be spent on language models.",
    USAGE_READ="Read what was spent on language models, and what is left.",
)


@strawberry.type(description="A person of the organization.")
class User(Node):
    name: str = described("The name they go by.")
    email: str = described("Their e-mail address.")
    suspended: bool = described("Whether they are shut out.")


@strawberry.type(description="The person whose token the request carries.")
class Viewer:
    name: str = described("The name they go by.")
    email: str = described("Their e-mail address.")

    @batched("The person as others see them.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_user_of_viewer(parents, context)

    @batched("The organization the token is for.")
    async def organization(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Organization]:
        return await users.get_organization_of_viewer(parents, context)

    @batched(
        "The released grades of the viewer and of the students they observe.",
        first=FIRST,
        after=AFTER,
    )
    async def grades(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[GradeRef]]:
        page = connection(await grades.list_released(context, first, after))
        return [page for _ in parents]

    @batched(
        "The viewer's study sessions, newest first.",
        first=FIRST,
        after=AFTER,
        archived="The archived ones, instead of the others.",
    )
    async def study_sessions(
        parents: Sequence[Any],
        context: RequestContext,
        first: int = 20,
        after: str | None = None,
        archived: bool = False,
    ) -> Sequence[Connection[StudySessionRef]]:
        page = connection(await study.list_sessions(context, first, after, archived=archived))
        return [page for _ in parents]

    @batched(
        "What the viewer has to mark, by assignment and alias: their marking queue.",
        first=FIRST,
        after=AFTER,
    )
    async def allocations(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[AllocationRef]]:
        page = connection(await allocations.list_own(context, first, after))
        return [page for _ in parents]


@strawberry.input(description="A person to be known to the organization.")
class NewUserInput:
    email: str = described("Their e-mail address, unique in the organization.")
    name: str = described("The name they go by.")


@strawberry.input(description="Up to 100 people to be known to the organization.")
class CreateUsersInput:
    users: list[NewUserInput] = described("The people; one who is known stays as they are.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createUsers did.")
class CreateUsersPayload:
    users: list[User] | None = described("The people, in the order given; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A person to be shut out, or let in again.")
class SuspendUserInput:
    user_id: strawberry.ID = described("Who.")
    reason: str = described("Why, for those who ask later.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What suspendUser or reinstateUser did.")
class SuspendUserPayload:
    user: User | None = described("The person; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Whom to sign out.")
class SignOutEverywhereInput:
    user_id: strawberry.ID | None = strawberry.field(
        default=None, description="Another person, by an admin; left out, oneself."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What signOutEverywhere did.")
class SignOutEverywherePayload:
    user: User | None = described("Who was signed out; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Whose view is needed, and why.")
class ImpersonateUserInput:
    user_id: strawberry.ID = described("The person.")
    reason: str = described("Why, for those who ask later; it stays in the audit log.")
    minutes: int = strawberry.field(default=15, description="How long, 1 to 15.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="Seeing what another person sees.")
class Impersonation:
    access_token: str | None = described(
        "An access token that sees what the person sees and changes nothing; null where the "
        "idempotency key was used before."
    )

    @batched("The person.")
    async def user(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [i.user_id for i in parents])


@strawberry.type(description="What impersonateUser did.")
class ImpersonateUserPayload:
    impersonation: Impersonation | None = described("The token and for whom; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class UserMutations:
    create_users = mutation(
        users.create_users,
        permission=Permission.USER_CREATE,
        input_type=CreateUsersInput,
        payload=CreateUsersPayload,
        noun="users",
        load=users.load_users,
        many=True,
        text="Makes people known to the organization.",
    )
    suspend_user = mutation(
        users.suspend_user,
        permission=Permission.USER_SUSPEND,
        input_type=SuspendUserInput,
        payload=SuspendUserPayload,
        noun="user",
        load=users.load_users,
        text="Shuts a person out at once, open subscriptions too. Their work and grades stay.",
    )
    reinstate_user = mutation(
        users.reinstate_user,
        permission=Permission.USER_SUSPEND,
        input_type=SuspendUserInput,
        payload=SuspendUserPayload,
        noun="user",
        load=users.load_users,
        text="Lets a suspended person in again, with the roles they hold.",
    )
    sign_out_everywhere = mutation(
        users.sign_out_everywhere,
        permission=Permission.USER_SUSPEND,
        input_type=SignOutEverywhereInput,
        payload=SignOutEverywherePayload,
        noun="user",
        load=users.load_users,
        text="Ends every session and access token of a person, open subscriptions too.",
    )
    impersonate_user = mutation(
        users.impersonate_user,
        permission=Permission.USER_IMPERSONATE,
        input_type=ImpersonateUserInput,
        payload=ImpersonateUserPayload,
        noun="impersonation",
        about="User",
        load=users.load_impersonations,
        text="Break-glass: sees for some minutes what a person sees, with a reason that is kept.",
    )


LOADERS = {"User": users.load_users}
