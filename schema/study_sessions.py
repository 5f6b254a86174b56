"""Study sessions, as their owner changes them."""

from datetime import datetime

import strawberry

from resolvers import study, study_sessions
from resolvers.access import Permission
from schema.fields import UserError, described, mutation
from schema.node import IDEMPOTENCY_KEY
from schema.study import StudySession


@strawberry.input(description="A conversation to be opened.")
class CreateStudySessionInput:
    course_id: strawberry.ID = described("The course.")
    title: str | None = strawberry.field(
        default=None, description="Its title; without one, the course's."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createStudySession did.")
class CreateStudySessionPayload:
    study_session: StudySession | None = described("The session; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="What to change about a session.")
class UpdateStudySessionInput:
    session_id: strawberry.ID = described("The session.")
    title: str | None = strawberry.field(
        default=None, description="Its new title; left out, it stays."
    )
    archived: bool | None = strawberry.field(
        default=None, description="Whether it is put away; left out, it stays as it is."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What updateStudySession did.")
class UpdateStudySessionPayload:
    study_session: StudySession | None = described("The session; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A session to be shown to the course's instructors.")
class ShareStudySessionInput:
    session_id: strawberry.ID = described("The session.")
    until: datetime | None = strawberry.field(
        default=None, description="When the share ends by itself; left out, when it is unshared."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What shareStudySession did.")
class ShareStudySessionPayload:
    study_session: StudySession | None = described("The session; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A session to be closed again.")
class UnshareStudySessionInput:
    session_id: strawberry.ID = described("The session.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What unshareStudySession did.")
class UnshareStudySessionPayload:
    study_session: StudySession | None = described("The session; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A session to be deleted.")
class DeleteStudySessionInput:
    session_id: strawberry.ID = described("The session.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What deleteStudySession did.")
class DeleteStudySessionPayload:
    deleted_id: strawberry.ID | None = described("The id it had; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class StudySessionMutations:
    create_study_session = mutation(
        study_sessions.create_study_session,
        permission=Permission.STUDY_ASK,
        input_type=CreateStudySessionInput,
        payload=CreateStudySessionPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Opens a private conversation with the tutor of a course.",
    )
    update_study_session = mutation(
        study_sessions.update_study_session,
        permission=Permission.STUDY_ASK,
        input_type=UpdateStudySessionInput,
        payload=UpdateStudySessionPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Names a session of one's own, archives it or takes it back.",
    )
    share_study_session = mutation(
        study_sessions.share_study_session,
        permission=Permission.STUDY_ASK,
        input_type=ShareStudySessionInput,
        payload=ShareStudySessionPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Lets the instructors of the course read a session of one's own.",
    )
    unshare_study_session = mutation(
        study_sessions.unshare_study_session,
        permission=Permission.STUDY_ASK,
        input_type=UnshareStudySessionInput,
        payload=UnshareStudySessionPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Ends a share at once, also for those who follow the session now.",
    )
    delete_study_session = mutation(
        study_sessions.delete_study_session,
        permission=Permission.STUDY_ASK,
        input_type=DeleteStudySessionInput,
        payload=DeleteStudySessionPayload,
        noun="deleted_id",
        load=study_sessions.name_deleted,
        text="Deletes a session of one's own with all that is in it. Figures of what it cost stay.",
        about="StudySession",
    )
