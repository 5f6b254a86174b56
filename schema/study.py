"""Study sessions, as the API shows them to their owner."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from persistence.lifecycle.study import MessageState
from persistence.tables.study import Author
from resolvers import courses, documents, study, study_follow, web
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.study import StudyRoute
from resolvers.study_follow import StudyEventKind
from schema.courses import Course
from schema.documents import Chunk, Document
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, subscription
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connections
from schema.web import WebSource

described_enum(
    Author,
    "Who wrote a message.",
    STUDENT="The person whose session it is.",
    TUTOR="The study team.",
)
described_enum(
    MessageState,
    "Where a message stands. A question is COMPLETE at once.",
    QUEUED="Waiting for a worker, at first or after a failure that may pass.",
    PLANNING="The team decides how to answer.",
    RETRIEVING="The team searches the material.",
    GENERATING="The answer is being written.",
    VERIFYING="Every claim is held against its source.",
    COMPLETE="Answered and verified.",
    ABSTAINED="The material does not carry an answer; the text says so.",
    FAILED="There is no answer; `failure` says why.",
    CANCELLED="Stopped by the student.",
)
described_enum(
    StudyRoute,
    "Where an answer comes from.",
    DIRECT="From the conversation itself.",
    DOCUMENTS="From the course's material.",
    WEB="From the web.",
    BOTH="From the course's material and the web.",
    CLARIFY="It asks back.",
    REFUSE_GRADED_WORK="It is about graded work that is still open: hints at most.",
)
described_enum(
    StudyEventKind,
    "What an event of a study session tells.",
    SNAPSHOT="The session as it stands, first of all events.",
    MESSAGE_STATE="A reply has entered a state. Numbered.",
    CHUNK="A piece of the answer that is being written. Not numbered.",
)


@strawberry.type(description="Why there is no answer.")
class MessageFailure:
    code: str = described("For programs: TUTOR_UNAVAILABLE, INTERRUPTED or INTERNAL.")
    message: str = described("What to do, for the person who asked.")


@strawberry.type(description="What a claim of an answer rests on, word for word.")
class Citation:
    ordinal: int = described("Its place among the citations of the answer, from 0.")
    claim_start: int = described("Where the claim begins in the answer, in code points.")
    claim_end: int = described("Where the claim ends in the answer, in code points, exclusive.")
    quote: str = described("The words of the source.")
    quote_start: int = described(
        "Where the quote begins in the text of the passage or page, in code points."
    )
    quote_end: int = described("Where it ends there, in code points, exclusive.")
    verified: bool = described("Whether the quote was found in the source, word for word.")
    page: int | None = described("The page of the passage; null where there are no pages.")

    @batched("The page of the web; null when the source is a passage.")
    async def web_source(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[WebSource | None]:
        return await web.get_sources(context, [c.web_source_id for c in parents])

    @batched("The passage; null for the web, and when the document has just been taken away.")
    async def chunk(parents: Sequence[Any], context: RequestContext) -> Sequence[Chunk | None]:
        return await documents.get_chunks(context, [c.chunk_id for c in parents])

    @batched("The document; null for the web, and when it has just been taken away.")
    async def document(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Document | None]:
        return await documents.get_documents(context, [c.document_id for c in parents])


@strawberry.type(description="One thing the study team did for an answer.")
class AgentStep:
    ordinal: int = described("Its place, from 0.")
    kind: str = described(
        "What was done: GRADED_WORK, PLAN, RETRIEVE, WEB_SEARCH, DRAFT, CRITIQUE, CHECK, BUDGET."
    )
    detail: JSON = described("What came of it; its shape depends on the kind and may grow.")


@strawberry.type(description="A question, or the tutor's reply to one.")
class Message(Node):
    author: Author = described("Who wrote it.")
    text: str = described("Its text; of a reply that is being written, the text so far.")
    state: MessageState = described("Where it stands.")
    generation: int = described("Rises when the text is begun anew: what was shown before is void.")
    route: StudyRoute | None = described("How it was answered; null before, and on a question.")
    created_at: datetime = described("When it was asked.")

    @strawberry.field(description="Whether the text is the tutor's and not verified.")
    def draft(root: Any) -> bool:
        return study.is_draft(root)

    @strawberry.field(description="Why there is no answer; null unless FAILED.")
    def failure(root: Any) -> MessageFailure | None:
        return study.failure_of(root)

    @batched("The question it answers; null on a question.")
    async def reply_to(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Annotated["Message", strawberry.lazy("schema.study")] | None]:
        return await study.get_messages(context, [m.reply_to_id for m in parents])

    @batched("What its claims rest on; empty until it is COMPLETE.")
    async def citations(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[Citation]]:
        return await study.list_citations(parents, context)

    @batched("How it came about; empty until it is COMPLETE or ABSTAINED.")
    async def steps(parents: Sequence[Any], context: RequestContext) -> Sequence[list[AgentStep]]:
        return await study.list_steps(parents, context)


@strawberry.type(description="A conversation with the tutor of a course, private to its owner.")
class StudySession(Node):
    title: str = described("Its title.")
    created_at: datetime = described("When it was opened.")

    @batched("The course it is about.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course]:
        return await courses.get_courses(context, [s.course_id for s in parents])

    @batched("Its messages in their order.", first=FIRST, after=AFTER)
    async def messages(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Message]]:
        return connections(await study.list_messages(parents, context, first, after))


@strawberry.type(description="A piece of an answer's text, at its place.")
class AnswerChunk:
    generation: int = described("When it rises, what was shown of the answer before is void.")
    offset: int = described("Where the piece belongs in the answer, in code points.")
    text: str = described("The piece; empty when it only begins a generation.")


@strawberry.type(description="Something that happened in a study session.")
class StudyEvent:
    seq: int = described("The event's number; of a CHUNK that of the event before it.")
    kind: StudyEventKind = described("What it tells.")
    at: datetime = described("When it happened.")
    session: StudySession = described("The session.")
    message: Message | None = described(
        "The reply it is about, as it reads now (on a CHUNK, as last read); on a SNAPSHOT the "
        "latest message, with its text so far; null in an empty session."
    )
    chunk: AnswerChunk | None = described("The piece of text; null unless it is a CHUNK.")


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


@strawberry.input(description="A question to the tutor.")
class AskQuestionInput:
    session_id: strawberry.ID = described("The session; it answers one question at a time.")
    text: str = described("The question, of 1 to 8,000 characters.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What askQuestion did.")
class AskQuestionPayload:
    message: Message | None = described(
        "The tutor's reply, QUEUED; `replyTo` is the question. Null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A reply to be stopped.")
class CancelMessageInput:
    message_id: strawberry.ID = described("The tutor's reply.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What cancelMessage did.")
class CancelMessagePayload:
    message: Message | None = described("The reply, CANCELLED; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class StudyMutations:
    create_study_session = mutation(
        study.create_study_session,
        permission=Permission.STUDY_ASK,
        input_type=CreateStudySessionInput,
        payload=CreateStudySessionPayload,
        noun="study_session",
        load=study.load_sessions,
        text="Opens a private conversation with the tutor of a course.",
    )
    ask_question = mutation(
        study.ask_question,
        permission=Permission.STUDY_ASK,
        input_type=AskQuestionInput,
        payload=AskQuestionPayload,
        noun="message",
        load=study.load_messages,
        text="Asks the tutor; follow the answer with `studyMessage`.",
    )
    cancel_message = mutation(
        study.cancel_message,
        permission=Permission.STUDY_ASK,
        input_type=CancelMessageInput,
        payload=CancelMessagePayload,
        noun="message",
        load=study.load_messages,
        text="Stops an answer that is still to come.",
    )


@strawberry.type
class StudySubscriptions:
    @subscription(
        "What happens in one's own study session: a SNAPSHOT first, then numbered MESSAGE_STATE "
        "events, and between them the answer in CHUNKs while it is written. Ends when the client "
        "ends it; pass the last `seq` as `afterSeq` to go on without missing or repeating one.",
        Permission.STUDY_ASK,
        session_id="The session.",
        after_seq="The last `seq` that was received; leave out to begin with what is to come.",
    )
    async def study_message(
        context: RequestContext, session_id: strawberry.ID, after_seq: int | None = None
    ) -> AsyncGenerator[StudyEvent, None]:
        events = study_follow.follow_session(context, session_id, after_seq)
        async with aclosing(events) as told:
            async for event in told:
                yield event


LOADERS = {"StudySession": study.load_sessions, "Message": study.load_messages}
