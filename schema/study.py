"""Study sessions, as the API shows them to their owner and to whom they share them with."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any

import strawberry

from persistence.lifecycle.study import MessageState
from persistence.tables.study import Author
from resolvers import courses, documents, study, study_follow, users, web
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.grading import MOST_MICROS
from resolvers.study import StudyRoute
from resolvers.study_follow import StudyEventKind
from schema.courses import Course
from schema.documents import Chunk, Document
from schema.enums import described_enum
from schema.fields import batched, described, root_field, subscription
from schema.node import AFTER, FIRST, Connection, Node, connection, connections
from schema.study_steps import AgentStep
from schema.users import User
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
    StudyEventKind,
    "What an event of a study session tells.",
    SNAPSHOT="The session as it stands, first of all events.",
    MESSAGE_STATE="A reply has entered a state. Numbered.",
    STEP="The team did something for a reply. Numbered.",
    CHUNK="A piece of the answer that is being written. Not numbered.",
)


@strawberry.type(description="Why there is no answer.")
class MessageFailure:
    code: str = described(
        "For programs: TUTOR_UNAVAILABLE, BUDGET_EXHAUSTED, INTERRUPTED or INTERNAL."
    )
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


MessageRef = Annotated["Message", strawberry.lazy("schema.study")]


@strawberry.type(description="What the calls of a reply came to, by the ledger.")
class MessageUsage:
    calls: int = described(
        "Calls of the team's members that returned. One that was cut by a cancel or a crash is not "
        "known to the ledger and not counted."
    )
    input_tokens: int = described("Tokens they read.")
    output_tokens: int = described("Tokens they wrote.")

    @strawberry.field(
        description="What they cost, in millionths of the currency; "
        f"{MOST_MICROS} stands for that or more."
    )
    def cost_micros(root: Any) -> int:
        return study.cost_of(root)

    currency: str = described("The currency, as an ISO 4217 code.")


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
    ) -> Sequence[MessageRef | None]:
        return await study.get_replied(parents, context)

    @batched("The message it follows: its question, or the reply before; null on a first question.")
    async def parent(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[MessageRef | None]:
        return await study.get_messages(context, [m.parent_id for m in parents])

    @batched("What follows it: replies to a question, questions after a reply, as they were made.")
    async def children(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[MessageRef]]:
        return await study.list_children(parents, context)

    @batched(
        "What stands in its place on all branches, itself among them: an edited question's "
        "wordings, a question's replies, as they were made."
    )
    async def siblings(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[MessageRef]]:
        return await study.list_siblings(parents, context)

    @batched("What was spent on it so far; null on a question.")
    async def usage(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[MessageUsage | None]:
        return await study.list_usage(parents, context)

    @batched("What its claims rest on; empty until it is COMPLETE.")
    async def citations(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[list[Citation]]:
        return await study.list_citations(parents, context)

    @batched("How it comes about, step by step while it is worked on.")
    async def steps(parents: Sequence[Any], context: RequestContext) -> Sequence[list[AgentStep]]:
        return await study.list_steps(parents, context)


@strawberry.type(description="That a session is open to the instructors of its course.")
class SessionShare:
    at: datetime = described("When it was shared.")
    until: datetime | None = described("When the share ends by itself; null for never.")


@strawberry.type(
    description="A conversation with the tutor of a course, private to its owner unless shared. "
    "Its messages are a tree; `messages` reads one branch of it."
)
class StudySession(Node):
    title: str = described("Its title.")
    created_at: datetime = described("When it was opened.")
    archived_at: datetime | None = described("When it was archived; null while it is in use.")

    @batched("Whether, and until when, the instructors of the course read it; null when not.")
    async def share(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[SessionShare | None]:
        return [study.share_of(s, context.now()) for s in parents]

    @batched("Whose it is.")
    async def owner(parents: Sequence[Any], context: RequestContext) -> Sequence[User]:
        return await users.get_users(context, [s.user_id for s in parents])

    @batched("The last message of the active branch; null in an empty session.")
    async def active_leaf(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Message | None]:
        return await study.get_messages(context, [s.active_leaf_id for s in parents])

    @batched("The course it is about.")
    async def course(parents: Sequence[Any], context: RequestContext) -> Sequence[Course]:
        return await courses.get_courses(context, [s.course_id for s in parents])

    @batched(
        "The messages of the active branch, from its first question on.", first=FIRST, after=AFTER
    )
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
    step: AgentStep | None = described("What was done, as it reads now; null unless it is a STEP.")


@strawberry.type
class StudyQueries:
    @root_field(
        "The study sessions that students of a course share with its instructors, newest first.",
        course_id="The course.",
        first=FIRST,
        after=AFTER,
    )
    async def shared_study_sessions(
        context: RequestContext,
        course_id: strawberry.ID,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[StudySession] | None:
        return connection(await study.list_shared_sessions(context, course_id, first, after))


@strawberry.type
class StudySubscriptions:
    @subscription(
        "What happens in a study session one reads: a SNAPSHOT first, then numbered MESSAGE_STATE "
        "and STEP events, and between them the answer in CHUNKs while it is written. Ends when the "
        "client ends it; pass the last `seq` as `afterSeq` to go on without missing or repeating "
        "one.",
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
