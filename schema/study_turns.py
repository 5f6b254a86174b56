"""Turns of a study session: asked, made again, branched, stopped."""

import strawberry

from resolvers import study, study_turns
from resolvers.access import Permission
from schema.fields import UserError, described, mutation
from schema.node import IDEMPOTENCY_KEY
from schema.study import Message, StudySession


@strawberry.input(description="A question to the tutor.")
class AskQuestionInput:
    session_id: strawberry.ID = described("The session; it answers one question at a time.")
    text: str = described("The question, of 1 to 8,000 characters.")
    parent_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="The reply it follows, on whichever branch; left out, the end of the active "
        "branch.",
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What askQuestion did.")
class AskQuestionPayload:
    message: Message | None = described(
        "The tutor's reply, QUEUED; `replyTo` is the question. Null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A reply to be made again.")
class RegenerateMessageInput:
    message_id: strawberry.ID = described("The reply; it stays, beside the new one.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What regenerateMessage did.")
class RegenerateMessagePayload:
    message: Message | None = described(
        "The new reply, QUEUED, at the end of the active branch; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="Another wording of a question.")
class EditQuestionInput:
    message_id: strawberry.ID = described("The question; it stays, on its own branch.")
    text: str = described("The new wording, of 1 to 8,000 characters.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What editQuestion did.")
class EditQuestionPayload:
    message: Message | None = described(
        "The tutor's reply to the new wording, QUEUED; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A branch to be shown.")
class SelectBranchInput:
    message_id: strawberry.ID = described("A message of the branch.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What selectBranch did.")
class SelectBranchPayload:
    study_session: StudySession | None = described(
        "The session, its `messages` now this branch; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A reply to be stopped.")
class CancelMessageInput:
    message_id: strawberry.ID = described("The tutor's reply.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What cancelMessage did.")
class CancelMessagePayload:
    message: Message | None = described(
        "The reply, CANCELLED; `usage` says what was spent. Null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class StudyTurnMutations:
    ask_question = mutation(
        study_turns.ask_question,
        permission=Permission.STUDY_ASK,
        input_type=AskQuestionInput,
        payload=AskQuestionPayload,
        noun="message",
        load=study.load_messages,
        text="Asks the tutor; follow the answer with `studyMessage`.",
    )
    regenerate_message = mutation(
        study_turns.regenerate_message,
        permission=Permission.STUDY_ASK,
        input_type=RegenerateMessageInput,
        payload=RegenerateMessagePayload,
        noun="message",
        load=study.load_messages,
        text="Has a question answered again, beside the reply it has.",
    )
    edit_question = mutation(
        study_turns.edit_question,
        permission=Permission.STUDY_ASK,
        input_type=EditQuestionInput,
        payload=EditQuestionPayload,
        noun="message",
        load=study.load_messages,
        text="Asks in another wording, on a branch beside the first.",
    )
    select_branch = mutation(
        study_turns.select_branch,
        permission=Permission.STUDY_ASK,
        input_type=SelectBranchInput,
        payload=SelectBranchPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Shows the branch through a message, down to its latest end.",
    )
    cancel_message = mutation(
        study_turns.cancel_message,
        permission=Permission.STUDY_ASK,
        input_type=CancelMessageInput,
        payload=CancelMessagePayload,
        noun="message",
        load=study.load_messages,
        text="Stops an answer that is still to come. Its calls end within a second.",
    )
