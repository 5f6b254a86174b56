"""Course material, as the API shows it."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Annotated, Any

import strawberry
from strawberry.file_uploads import Upload

from persistence.lifecycle.documents import DocumentState
from resolvers import documents, documents_fetch, documents_follow, documents_replace
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.documents_follow import DocumentEventKind
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation, subscription
from schema.node import AFTER, FIRST, IDEMPOTENCY_KEY, Connection, Node, connections

described_enum(
    DocumentEventKind,
    "What an event of a document tells.",
    SNAPSHOT="Where it stands; always the first.",
    DOCUMENT_STATE="Its state has changed. Numbered.",
    PROGRESS="More of it was indexed; not numbered.",
)
described_enum(
    DocumentState,
    "Where a document stands.",
    UPLOADED="Taken in, waiting to be read.",
    EXTRACTING="Its text is being read.",
    CHUNKING="Its text is being cut into passages.",
    EMBEDDING="Its passages are being indexed.",
    READY="Searchable, and open to every member of the course.",
    REINDEXING="Searchable while it is being indexed anew.",
    FAILED="It could not be read; `failure` says why.",
    NO_TEXT="It holds no text; `failure` says what to do.",
    REPLACED="A newer version has taken its place: readable where it was quoted, not searched.",
    DELETED="Taken away: text, bytes and index are gone.",
)


@strawberry.type(description="Why a document is not searchable.")
class DocumentFailure:
    code: str = described(
        "For programs: UNSUPPORTED_TYPE, NOT_TEXT, EMPTY, TOO_LARGE, BAD_ENCODING or INTERNAL; of "
        "a file by its address also FETCH_REFUSED, FETCH_FAILED or DUPLICATE."
    )
    message: str = described("What is wrong.")
    advice: str = described("What to do about it.")


@strawberry.type(description="A passage of a document, small enough to be searched and quoted.")
class Chunk(Node):
    text: str = described("Its text, in Unicode normal form C.")
    heading_path: list[str] = described("The headings above it, outermost first.")
    page: int | None = described("The page it begins on; null where the format has no pages.")
    start: int = described("Where it begins in the document's text, in code points.")
    end: int = described("Where it ends in the document's text, in code points, exclusive.")

    @batched("The document; null when it has just been taken away.")
    async def document(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Annotated["Document", strawberry.lazy("schema.documents")] | None]:
        return await documents.get_documents(context, [c.document_id for c in parents])


@strawberry.type(description="A file of a course's material.")
class Document(Node):
    title: str = described("Its title.")
    file_name: str = described("The name of the file it came in.")
    media_type: str = described("What it is read as: text/markdown or text/plain.")
    byte_size: int = described("The size of the file in bytes.")
    language: str = described("The language of its text, as a BCP 47 tag.")
    state: DocumentState = described("Where it stands.")
    version: int = described("1, and one more with each replacement.")
    created_at: datetime = described("When it was uploaded.")

    @strawberry.field(description="Why it is not searchable; null unless FAILED or NO_TEXT.")
    def failure(root: Any) -> DocumentFailure | None:
        return None if root.failure is None else DocumentFailure(**root.failure)

    @batched("The document whose place it takes once it is READY; null for a first version.")
    async def replaces(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Annotated["Document", strawberry.lazy("schema.documents")] | None]:
        return await documents_replace.get_replaced(parents, context)

    @batched("The document that took its place; null unless REPLACED.")
    async def replaced_by(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Annotated["Document", strawberry.lazy("schema.documents")] | None]:
        return await documents_replace.get_replacements(parents, context)

    @batched("How many pages it has; null until it is READY and where the format has none.")
    async def pages(parents: Sequence[Any], context: RequestContext) -> Sequence[int | None]:
        return [extent.pages for extent in await documents.get_extents(parents, context)]

    @batched("How many passages are indexed so far.")
    async def chunk_count(parents: Sequence[Any], context: RequestContext) -> Sequence[int]:
        return [extent.chunks for extent in await documents.get_extents(parents, context)]

    @batched(
        "Where the viewer downloads the file as it came, for five minutes and while they may read "
        "it; the address is signed and needs no token. A path of this server unless "
        "ASSAY_PUBLIC_URL is set. Null once it is DELETED."
    )
    async def original_url(parents: Sequence[Any], context: RequestContext) -> Sequence[str | None]:
        return await documents.get_original_urls(parents, context)

    @batched("Its passages in reading order.", first=FIRST, after=AFTER)
    async def chunks(
        parents: Sequence[Any], context: RequestContext, first: int = 20, after: str | None = None
    ) -> Sequence[Connection[Chunk]]:
        return connections(await documents.list_chunks(parents, context, first, after))


@strawberry.input(description="A file to be made searchable for a course.")
class UploadDocumentInput:
    course_id: strawberry.ID = described("The course.")
    file: Upload = described(
        "Markdown (.md, .markdown) or plain text (.txt), up to 25 MB; larger ones by createUpload."
    )
    title: str | None = strawberry.field(
        default=None, description="Its title; without one, the file's name."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What uploadDocument did.")
class UploadDocumentPayload:
    document: Document | None = described(
        "The document, or the one the course has with the same content; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A file to be fetched and made searchable for a course.")
class AddDocumentFromUrlInput:
    course_id: strawberry.ID = described("The course.")
    url: str = described("The address of the file itself, of a host this server fetches from.")
    title: str | None = strawberry.field(
        default=None, description="Its title; without one, the file's name."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What addDocumentFromUrl did.")
class AddDocumentFromUrlPayload:
    document: Document | None = described(
        "The document, UPLOADED until its file has come; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="The next version of a document.")
class ReplaceDocumentInput:
    document_id: strawberry.ID = described("The document, READY.")
    upload_id: strawberry.ID | None = strawberry.field(
        default=None, description="An upload that is whole, of the same course; or else `file`."
    )
    file: Upload | None = strawberry.field(
        default=None, description="The file, up to 25 MB; or else `uploadId`."
    )
    title: str | None = strawberry.field(
        default=None, description="Its title; without one, that of the version before."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What replaceDocument did.")
class ReplaceDocumentPayload:
    document: Document | None = described(
        "The new version; the old one serves until this is READY. Null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A document to be taken away.")
class DeleteDocumentInput:
    document_id: strawberry.ID = described("The document.")
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What deleteDocument did.")
class DeleteDocumentPayload:
    document: Document | None = described("The document, now DELETED; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class DocumentMutations:
    upload_document = mutation(
        documents.upload_document,
        permission=Permission.DOCUMENT_WRITE,
        input_type=UploadDocumentInput,
        payload=UploadDocumentPayload,
        noun="document",
        load=documents.load_documents,
        prepare=documents.store_file,
        text="Takes in a file and has it made searchable; watch the document's `state`.",
    )
    add_document_from_url = mutation(
        documents_fetch.add_document_from_url,
        permission=Permission.DOCUMENT_WRITE,
        input_type=AddDocumentFromUrlInput,
        payload=AddDocumentFromUrlPayload,
        noun="document",
        load=documents.load_documents,
        text="Has a file fetched by its address and made searchable; watch the document's `state`.",
    )
    replace_document = mutation(
        documents_replace.replace_document,
        permission=Permission.DOCUMENT_WRITE,
        input_type=ReplaceDocumentInput,
        payload=ReplaceDocumentPayload,
        noun="document",
        load=documents.load_documents,
        prepare=documents_replace.find_replacement,
        text="Takes in the next version of a document, which takes its place once it is READY.",
    )
    delete_document = mutation(
        documents.delete_document,
        permission=Permission.DOCUMENT_WRITE,
        input_type=DeleteDocumentInput,
        payload=DeleteDocumentPayload,
        noun="document",
        load=documents.load_documents,
        text="Takes a document away, with the quotations answers made of it.",
    )


@strawberry.type(description="Something that happened to a document, or where it stands.")
class DocumentProgressEvent:
    seq: int = described("The event's number, or that of the last one before it.")
    kind: DocumentEventKind = described("What it tells.")
    at: datetime = described("When it happened.")
    document: Document = described("The document as it is now.")


@strawberry.type
class DocumentSubscriptions:
    @subscription(
        "A document on its way to being searchable: its state first, then each event in order, "
        "each once. Ends once it is READY, FAILED, NO_TEXT, REPLACED or DELETED and everything was "
        "told. `afterSeq` beyond the last event is refused with RESYNC.",
        Permission.DOCUMENT_READ,
        document_id="The document.",
        after_seq="The number of the last event you have; leave out to begin with the state now.",
    )
    async def document_progress(
        context: RequestContext, document_id: strawberry.ID, after_seq: int | None = None
    ) -> AsyncGenerator[DocumentProgressEvent, None]:
        async for event in documents_follow.follow_document(context, document_id, after_seq):
            yield event


LOADERS = {"Document": documents.load_documents, "Chunk": documents.load_chunks}
