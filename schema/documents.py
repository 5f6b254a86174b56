"""Course material, as the API shows it."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import strawberry
from strawberry.file_uploads import Upload

from agents.documents.extracted import LocationKind, NoteCode
from agents.documents.media_types import READ_TYPES
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


class DocumentFailureCode(StrEnum):
    """Of an extraction or a fetch."""

    UNSUPPORTED_TYPE = "UNSUPPORTED_TYPE"
    WRONG_TYPE = "WRONG_TYPE"
    EMPTY = "EMPTY"
    NO_TEXT = "NO_TEXT"
    ENCRYPTED = "ENCRYPTED"
    DAMAGED = "DAMAGED"
    BAD_ENCODING = "BAD_ENCODING"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PAGES = "TOO_MANY_PAGES"
    TOO_MUCH_TEXT = "TOO_MUCH_TEXT"
    TIME_LIMIT = "TIME_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    FETCH_REFUSED = "FETCH_REFUSED"
    FETCH_FAILED = "FETCH_FAILED"
    DUPLICATE = "DUPLICATE"
    PROVIDER_NOT_APPROVED = "PROVIDER_NOT_APPROVED"
    MODEL_BUDGET = "MODEL_BUDGET"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    NO_ROOM = "NO_ROOM"
    INTERNAL = "INTERNAL"


described_enum(
    DocumentFailureCode,
    "Why a document is not searchable.",
    UNSUPPORTED_TYPE="A kind of file that is not read.",
    WRONG_TYPE="The content is not what the file's name or declared type says.",
    EMPTY="There is nothing in it.",
    NO_TEXT="It shows pictures and no text, such as scanned pages.",
    ENCRYPTED="It is protected by a password.",
    DAMAGED="What it holds does not fit together.",
    BAD_ENCODING="A text in an encoding that could not be told.",
    TOO_LARGE="It has more bytes, packed or unpacked, than a file may have.",
    TOO_MANY_PAGES="It has more pages or slides than a document may have.",
    TOO_MUCH_TEXT="It holds more text than a document may hold.",
    TIME_LIMIT="Reading it takes longer than a file may take.",
    MEMORY_LIMIT="Reading it takes more memory than a file may have.",
    FETCH_REFUSED="Its address may not be fetched, or does not lead to a file.",
    FETCH_FAILED="Its address did not answer, again and again.",
    DUPLICATE="The course has this file already.",
    PROVIDER_NOT_APPROVED="The provider whose model indexes it, or reads its pictures, is not "
    "approved.",
    MODEL_BUDGET="Its text is in pictures, and the budget for models has no room for reading them.",
    MODEL_UNAVAILABLE="Its text is in pictures, and the model that reads them does not answer.",
    NO_ROOM="It was fetched, and its course or organization may not have so many bytes more.",
    INTERNAL="It broke down again and again on our side.",
)
described_enum(
    NoteCode,
    "What to know about a document that was read.",
    name="DocumentNoteCode",
    PAGES_WITHOUT_TEXT="Some pages are pictures, or damaged; what they show is not found.",
    ENCODING_GUESSED="The file does not say how its letters are encoded.",
    READ_BY_MODEL="A model read pages that are pictures; its words are not the document's own.",
    TYPE_RECOGNISED="It was read as what its content is, which its name does not say.",
)
described_enum(
    LocationKind,
    "What a place in a document is counted in.",
    PAGE="Pages.",
    SLIDE="Slides.",
    CELL_RANGE="Cells of a sheet.",
    NOTEBOOK_CELL="Cells of a notebook.",
    LINE_RANGE="Lines of a text.",
)


@strawberry.type(description="Something to know about a document that was read all the same.")
class DocumentNote:
    code: NoteCode = described("What it is, for programs.")
    message: str = described("What it is, and what to do about it.")


@strawberry.type(description="A place in the original, inclusive at both ends.")
class ChunkLocation:
    kind: LocationKind = described("What it is counted in.")
    label: str = described("As people write it: page 3, slides 2-3, Marks!A2:D9, lines 10-14.")
    first: int | None = described(
        "Where it begins, from 1; of a sheet the row, null for nothing but the sheet's name."
    )
    last: int | None = described("Where it ends, counted likewise.")


@strawberry.type(description="Why a document is not searchable.")
class DocumentFailure:
    code: DocumentFailureCode = described("The reason, for programs.")
    message: str = described("What is wrong.")
    advice: str = described("What to do about it.")


@strawberry.type(description="A passage of a document, small enough to be searched and quoted.")
class Chunk(Node):
    text: str = described("Its text, in Unicode normal form C.")
    heading_path: list[str] = described("The headings above it, outermost first.")
    language: str = described(
        "Its language as a BCP 47 tag: the document's, or what its letters say (und-Cyrl: "
        "undetermined, in Cyrillic)."
    )
    page: int | None = described("The page it stands on; null where the format has no pages.")

    @strawberry.field(
        description="Where it stands in the original; null where the format counts nothing "
        "(Word documents, web pages)."
    )
    def location(root: Any) -> ChunkLocation | None:
        if root.location_kind is None:
            return None
        return ChunkLocation(
            kind=LocationKind(root.location_kind),
            label=root.location_label,
            first=root.location_first,
            last=root.location_last,
        )

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
    media_type: str = described("What it is read as, such as application/pdf or text/markdown.")
    byte_size: int = described("The size of the file in bytes.")
    language: str = described("The language of its text, as a BCP 47 tag.")
    state: DocumentState = described("Where it stands.")
    version: int = described("1, and one more with each replacement.")
    created_at: datetime = described("When it was uploaded.")

    @strawberry.field(description="Why it is not searchable; null unless FAILED or NO_TEXT.")
    def failure(root: Any) -> DocumentFailure | None:
        if root.failure is None:
            return None
        code = DocumentFailureCode(root.failure["code"])
        return DocumentFailure(
            code=code, message=root.failure["message"], advice=root.failure["advice"]
        )

    @strawberry.field(description="What to know about how it was read; empty until it was.")
    def notes(root: Any) -> list[DocumentNote]:
        return [DocumentNote(code=NoteCode(n["code"]), message=n["message"]) for n in root.notes]

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
    file: Upload = described(f"{READ_TYPES} Up to 25 MB; larger ones by createUpload.")
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
