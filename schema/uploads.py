"""Resumable uploads, as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry

from persistence.lifecycle.uploads import UploadState
from persistence.tables.objects import UploadPurpose
from resolvers import documents, uploads
from resolvers.access import Permission
from resolvers.context import RequestContext
from schema.documents import Document
from schema.enums import described_enum
from schema.fields import UserError, batched, described, mutation
from schema.node import IDEMPOTENCY_KEY, Node

described_enum(
    UploadState,
    "Where a resumable upload stands.",
    OPEN="Its parts may come.",
    COMPLETE="It is whole and waits to be used.",
    REJECTED="What came is not what was announced.",
    USED="It became what it was for.",
    ENDED="It was given up or has expired; nothing of it is left.",
)
described_enum(
    UploadPurpose,
    "What an upload is for.",
    DOCUMENT="A document of the course, up to 100 MB unless configured otherwise.",
    IMPORT="A file for an import by staff, up to 2 GB unless configured otherwise.",
)


@strawberry.type(
    description="A file that comes in parts, by the tus protocol (https://tus.io, 1.0.0)."
)
class ResumableUpload(Node):
    file_name: str = described("The name of the file.")
    purpose: UploadPurpose = described("What it is for.")
    state: UploadState = described("Where it stands.")
    byte_size: int = described("How many bytes were announced.")
    received: int = described("How many bytes have come and are kept.")
    expires_at: datetime = described("When it is given up, unless it was used.")

    @batched(
        "Where its bytes go by PATCH, and HEAD says how many have come; the address is signed and "
        "needs no token. A path of this server unless ASSAY_PUBLIC_URL is set. Null unless OPEN, "
        "to who acts as its owner, and to API tokens without DOCUMENT_WRITE."
    )
    async def url(parents: Sequence[Any], context: RequestContext) -> Sequence[str | None]:
        return await uploads.get_urls(parents, context)

    @strawberry.field(description="Bytes to send in one request, at best.")
    def part_size(root: Any) -> int:
        return uploads.PART_BYTES


@strawberry.input(description="A file that will come in parts.")
class CreateUploadInput:
    course_id: strawberry.ID = described("The course it is for.")
    file_name: str = described("Its name; the ending says what kind of file it is.")
    byte_size: int = described("Its exact size in bytes.")
    sha256: str | None = strawberry.field(
        default=None, description="Its SHA-256 in hexadecimal, to be checked when it is whole."
    )
    media_type: str | None = strawberry.field(
        default=None, description="Its media type; without one, its name decides."
    )
    purpose: UploadPurpose = strawberry.field(
        default=UploadPurpose.DOCUMENT, description="What it is for."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What createUpload did.")
class CreateUploadPayload:
    upload: ResumableUpload | None = described("The upload; null when refused.")
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="An upload that becomes a document.")
class AddDocumentInput:
    upload_id: strawberry.ID = described("The upload, whole, of purpose DOCUMENT.")
    title: str | None = strawberry.field(
        default=None, description="Its title; without one, the file's name."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What addDocument did.")
class AddDocumentPayload:
    document: Document | None = described(
        "The document, or the one the course has with the same content; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class UploadMutations:
    create_upload = mutation(
        uploads.create_upload,
        permission=Permission.DOCUMENT_WRITE,
        input_type=CreateUploadInput,
        payload=CreateUploadPayload,
        noun="upload",
        load=uploads.load_uploads,
        text="Announces a file that comes in parts, and says where to send them.",
    )
    add_document = mutation(
        uploads.add_document,
        permission=Permission.DOCUMENT_WRITE,
        input_type=AddDocumentInput,
        payload=AddDocumentPayload,
        noun="document",
        load=documents.load_documents,
        prepare=uploads.find_whole,
        text="Makes a document of an upload that is whole; watch the document's `state`.",
    )


LOADERS = {"ResumableUpload": uploads.load_uploads}
