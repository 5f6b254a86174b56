"""Documents by their address: announced by a person, fetched by a worker."""

import hashlib
import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePath
from urllib.parse import unquote, urlsplit
from uuid import UUID

from agents.documents import media_types
from agents.documents.extracted import ExtractionFailure
from persistence import courses, documents, fetches, jobs, stored_objects, streams
from persistence.database import Connection, add
from persistence.lifecycle.documents import DocumentState
from persistence.objects import StorageDown
from persistence.tables.documents import DocumentFetchRow, DocumentRow
from resolvers import checks, quotas
from resolvers.access import Permission, missing
from resolvers.context import RequestContext
from resolvers.documents import announce_state, enqueue_ingest, file_name
from resolvers.fetching import FetchCode, FetchedFile, FetchFailure, check_target
from resolvers.global_ids import key_of
from resolvers.mutations import Transaction
from resolvers.originals import StoredFile, store
from resolvers.refusals import Refusal, RefusalCode
from resolvers.work import WorkResources

logger = logging.getLogger(__name__)

FETCH = "fetch_document"
"""The job that fetches a document's file."""

MOST_TRIES = 3
MOST_BEGUN = 5
"""A fetch that took so many workers with it is not tried again."""

AGAIN_AFTER = timedelta(seconds=20)
_SWEPT = 100
_URL = ("input", "url")
_LOST = FetchFailure(
    FetchCode.FETCH_FAILED,
    "The workers that fetched it broke down.",
    "Download the file yourself and upload it.",
)


async def add_document_from_url(
    context: RequestContext,
    transaction: Transaction,
    *,
    course_id: str,
    url: str,
    title: str | None,
) -> UUID:
    """Makes a document whose file a worker fetches; the same address again is that document."""
    course = key_of(course_id, "Course", ("input", "courseId"))
    viewer = context.require(Permission.DOCUMENT_WRITE, course)
    connection = transaction.connection
    rows = await courses.courses_by_id(connection, viewer, [course])
    if not rows:
        raise missing("course", ("input", "courseId"))
    name = _checked(context, url)
    await quotas.check_document(context, connection, course, 0)
    shown = PurePath(name).stem or name if title is None else title
    document = DocumentRow(
        organization_id=viewer.organization_id,
        course_id=course,
        uploaded_by=viewer.user_id,
        title=checks.line(shown, "title"),
        file_name=name,
        media_type="application/octet-stream",
        byte_size=0,
        sha256=hashlib.sha256(b"url " + url.encode()).hexdigest(),  # until the file has come
        language=rows[0].language,
    )
    same = await documents.add_document(connection, document, None)
    if same is not None:
        return same.id
    fetch = DocumentFetchRow(
        document_id=document.id, organization_id=viewer.organization_id, url=url
    )
    await add(connection, fetch)
    await announce_state(connection, document, DocumentState.UPLOADED)
    await _enqueue(connection, document.id, 0)
    transaction.hint_stream()
    return document.id


def _checked(context: RequestContext, url: str) -> str:
    """The name of the file an address leads to. Raises `Refusal` for one that is never fetched."""
    if len(url) > 2_000 or not url.isprintable() or " " in url:
        raise checks.bad("url", "An address has up to 2,000 characters and no spaces.")
    try:
        parts = urlsplit(url)
        host, port, user = parts.hostname or "", parts.port, parts.username is not None
    except ValueError:
        raise checks.bad("url", "This is not an address.") from None
    try:
        check_target(parts.scheme, host, port, user, context.files.fetching)
    except FetchFailure as failure:
        message = f"{failure.message} {failure.advice}"
        raise Refusal(RefusalCode.BAD_INPUT, message, _URL) from failure
    return file_name(unquote(parts.path.rpartition("/")[2]) or host, _URL)


async def _enqueue(connection: Connection, document_id: UUID, tries: int) -> None:
    await jobs.enqueue(connection, FETCH, document_id, dedupe_key=f"fetch:{document_id}:{tries}")


async def fetch_document(resources: WorkResources, document_id: UUID) -> None:
    """Fetches a document's file, and has it ingested.

    What may succeed later is tried again, three times in all; else the document FAILS with a
    reason.
    """
    async with resources.database.transaction() as connection:
        fetch = await fetches.begin(connection, document_id)
    if fetch is None:
        return
    if fetch.tries > MOST_BEGUN:
        await _fail(resources, document_id, _LOST)
        return
    try:
        async with resources.fetcher.fetch(
            fetch.url, resources.file_rules.document_bytes
        ) as coming:
            stored = await _stored(resources, fetch, coming)
        await _take_in(resources, document_id, coming, stored)
    except FetchFailure as failure:
        if failure.again and fetch.tries < MOST_TRIES:
            logger.info("document %s: %s; tried again later", document_id, failure.code)
            return
        await _fail(resources, document_id, failure)
    except StorageDown as error:
        logger.warning("document %s waits: the object storage is away: %s", document_id, error)
        async with resources.database.transaction() as connection:
            await fetches.put_back(connection, document_id)


async def _stored(
    resources: WorkResources, fetch: DocumentFetchRow, coming: FetchedFile
) -> StoredFile:
    return await store(
        resources.database,
        resources.storage,
        fetch.organization_id,
        coming.content,
        most=resources.file_rules.document_bytes,
        too_large=lambda: AssertionError("the fetcher counts"),
    )


async def _take_in(
    resources: WorkResources, document_id: UUID, coming: FetchedFile, stored: StoredFile
) -> None:
    async with resources.database.transaction() as connection:
        document = await fetches.finish(connection, document_id)
        if document is None:  # deleted meanwhile, or another worker was first
            await stored_objects.doom(connection, [stored.object_id])
            return
        failure = await _unusable(resources, connection, document, coming, stored)
        if failure is not None:
            await stored_objects.doom(connection, [stored.object_id])
            state = await fetches.fail(connection, document, failure)
            await announce_state(connection, document, state)
        else:
            await stored_objects.keep(connection, stored.object_id, stored.byte_size)
            values = {
                "byte_size": stored.byte_size,
                "sha256": stored.sha256,
                "media_type": _media_type(document, coming, stored),
            }
            whole = await fetches.set_file(connection, document, stored.object_id, values)
            await enqueue_ingest(connection, whole)
    await streams.announce(resources.bus)


def _media_type(document: DocumentRow, coming: FetchedFile, stored: StoredFile) -> str:
    return media_types.recognise(document.file_name, coming.media_type, stored.head)


async def _unusable(
    resources: WorkResources,
    connection: Connection,
    document: DocumentRow,
    coming: FetchedFile,
    stored: StoredFile,
) -> Mapping[str, str] | None:
    same = await documents.document_with_content(connection, document.course_id, stored.sha256)
    if same is not None:
        return {
            "code": FetchCode.DUPLICATE,
            "message": f"The course has this file already, as {same.title}.",
            "advice": "Use that document, and delete this one.",
        }
    try:
        _media_type(document, coming, stored)
        await quotas.check_fetched(resources.file_rules, connection, document, stored.byte_size)
    except ExtractionFailure as failure:
        return {
            "code": failure.code,
            "message": failure.message,
            "advice": "Give the address of the file itself, not of a page about it.",
        }
    except Refusal as refusal:
        return {
            "code": FetchCode.NO_ROOM,
            "message": refusal.message,
            "advice": "Make room, delete this document and have it fetched again.",
        }
    return None


async def _fail(resources: WorkResources, document_id: UUID, failure: FetchFailure) -> None:
    async with resources.database.transaction() as connection:
        document = await fetches.finish(connection, document_id)
        if document is None:
            return
        reason = {"code": failure.code, "message": failure.message, "advice": failure.advice}
        state = await fetches.fail(connection, document, reason)
        await announce_state(connection, document, state)
    await streams.announce(resources.bus)


async def sweep_fetches(resources: WorkResources, *, again_after: timedelta = AGAIN_AFTER) -> None:
    """Has fetches tried again: of workers that died, and of hosts that were away.

    One whose job waits or runs is left to it, however long its file takes to come.
    """
    async with resources.database.transaction() as connection:
        under_way = await jobs.outstanding(connection, FETCH)
        for fetch in await fetches.waiting(connection, again_after, _SWEPT, besides=under_way):
            await _enqueue(connection, fetch.document_id, fetch.tries)
