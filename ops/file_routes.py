"""Files over plain HTTP: parts of uploads by tus, whole originals by signed links.

tus 1.0.0 core with the extensions expiration and termination, https://tus.io/protocols/resumable-upload;
createUpload takes the place of its creation extension.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import format_datetime
from secrets import token_hex
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ops.edge.contexts import Report
from ops.edge.errors import RequestRefused, error_object
from ops.edge.requests import body_chunks
from ops.file_links import SignedLinks
from persistence.tables.objects import UploadRow
from persistence.users import Proof
from resolvers import originals, uploads
from resolvers.mutations import refusal_of
from resolvers.originals import Download
from resolvers.refusals import Refusal, RefusalCode
from resolvers.uploads import OffsetMismatch, Receiver

VERSION = "1.0.0"
OFFSET_TYPE = "application/offset+octet-stream"
STALL_SECONDS = 30.0
EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
)
_STATUS = {
    RefusalCode.BAD_INPUT: 400,
    RefusalCode.FORBIDDEN: 403,
    RefusalCode.NOT_FOUND: 404,
    RefusalCode.CONFLICT: 409,
    RefusalCode.INVALID_STATE: 409,
    RefusalCode.TOO_LARGE: 413,
    RefusalCode.LIMIT_EXCEEDED: 429,
    RefusalCode.UNAVAILABLE: 503,
}
Answer = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class FileRoutes:
    """`/uploads/…` and `/originals/…`."""

    links: SignedLinks
    receiver: Receiver
    report: Report

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route(
                "/uploads/{token}",
                answering(self._upload, self.report),
                methods=["HEAD", "PATCH", "DELETE", "POST", "OPTIONS"],
            ),
            Route("/originals/{token}", answering(self._original, self.report), methods=["GET"]),
        ]

    async def _upload(self, request: Request) -> Response:
        method = request.headers.get("x-http-method-override", request.method).upper()
        if method == "OPTIONS":
            return self._options()
        if request.headers.get("tus-resumable") != VERSION:
            message = f"Send the header Tus-Resumable: {VERSION}."
            return refusal(RefusalCode.BAD_INPUT, message, 412, {"Tus-Version": VERSION})
        answers = {"HEAD": self._head, "PATCH": self._patch, "DELETE": self._delete}
        if method not in answers:
            return refusal(RefusalCode.BAD_INPUT, "Send HEAD, PATCH or DELETE.", 405)
        return await answers[method](request)

    def _options(self) -> Response:
        rules = self.receiver.files.rules
        largest = max(rules.document_bytes, rules.import_bytes)
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": "expiration,termination",
            "Tus-Max-Size": str(largest),
        }
        return Response(status_code=204, headers=headers)

    async def _head(self, request: Request) -> Response:
        upload_id = self.links.upload_of(request.path_params["token"])
        upload = await uploads.open_upload(self.receiver, upload_id)
        headers = _progress(upload) | {
            "Upload-Length": str(upload.byte_size),
            "Cache-Control": "no-store",
        }
        return Response(status_code=200, headers=headers)

    async def _patch(self, request: Request) -> Response:
        upload_id = self.links.upload_of(request.path_params["token"])
        if request.headers.get("content-type", "").partition(";")[0].strip() != OFFSET_TYPE:
            message = f"Send the bytes as {OFFSET_TYPE}."
            return refusal(RefusalCode.BAD_INPUT, message, 415)
        start = request.headers.get("upload-offset", "")
        if not start.isascii() or not start.isdigit() or len(start) > 15:
            message = "Send Upload-Offset: where the bytes begin."
            return refusal(RefusalCode.BAD_INPUT, message, 400)
        length = request.headers.get("content-length", "0")
        upload = await uploads.open_upload(self.receiver, upload_id)
        if int(start) == upload.received and int(start) + int(length) > upload.byte_size:
            message = f"The upload was announced with {upload.byte_size:,} bytes; this is more."
            return refusal(RefusalCode.TOO_LARGE, message, 413)
        upload = await uploads.receive(self.receiver, upload, int(start), _what_comes(request))
        return Response(status_code=204, headers=_progress(upload))

    async def _delete(self, request: Request) -> Response:
        upload_id = self.links.upload_of(request.path_params["token"])
        await uploads.end_upload(self.receiver, upload_id)
        return Response(status_code=204)

    async def _original(self, request: Request) -> Response:
        link = self.links.original_of(request.path_params["token"])
        proof = Proof(
            link.user_id,
            link.organization_id,
            link.expires_at,
            link.issued_at,
            link.session_id,
            link.real_user_id,
            api_token_id=link.api_token_id,
        )
        receiver = self.receiver
        found = await originals.find_download(receiver.database, proof, link.document_id)
        headers = _original_headers(found)
        if _known(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        start, end = 0, found.byte_size
        asked = request.headers.get("range") if request.method == "GET" else None
        if asked and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
            span = byte_range(asked, found.byte_size)
            if span is None:
                headers = {"Content-Range": f"bytes */{found.byte_size}"}
                message = f"The file has {found.byte_size:,} bytes."
                return refusal(RefusalCode.BAD_INPUT, message, 416, headers)
            start, end = span
        partial = (start, end) != (0, found.byte_size)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.byte_size}"
        headers["Content-Length"] = str(end - start)
        status = 206 if partial else 200
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        content = originals.content_of(receiver.files.storage, found, start, end)
        first = await anext(content, b"")  # so that a storage that is away is a 503
        return StreamingResponse(_after(first, content), status, headers)


async def _after(first: bytes, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in content:
        yield piece


def _known(asked: str, etag: str) -> bool:
    """Whether an `If-None-Match` header (RFC 9110 §13.1.2, compared weakly) names this file."""
    known = {one.strip().removeprefix("W/") for one in asked.split(",")}
    return bool(known & {"*", etag})


def byte_range(asked: str, size: int) -> tuple[int, int] | None:
    """The bytes of a `Range` header (RFC 9110 §14.1.2) as start and exclusive end.

    None when it can't be satisfied; the whole for several ranges and for what is no range.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", asked.replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return 0, size
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return 0, size
    return (start, end) if start < end else None


def _original_headers(found: Download) -> dict[str, str]:
    """So that no browser shows the file, guesses at it or runs what is in it."""
    return {
        "Content-Type": found.media_type,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.file_name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
        "Referrer-Policy": "no-referrer",
        "Accept-Ranges": "bytes",
        "ETag": f'"{found.sha256}"',
    }


async def _what_comes(request: Request) -> AsyncIterator[bytes]:
    """The body as far as it comes: one that is cut or stands still just ends."""
    try:
        async for chunk in body_chunks(request, STALL_SECONDS):
            yield chunk
    except (ClientDisconnect, RequestRefused):
        return


def _progress(upload: UploadRow) -> dict[str, str]:
    return {
        "Upload-Offset": str(upload.received),
        "Upload-Expires": format_datetime(upload.expires_at, usegmt=True),
    }


def answering(answer: Answer, report: Report) -> Answer:
    """Adds what every answer has, and makes answers of refusals."""

    async def guarded(request: Request) -> Response:
        try:
            response = await answer(request)
        except OffsetMismatch as error:
            message = f"The upload goes on at byte {error.received}."
            headers = {"Upload-Offset": str(error.received)}
            response = refusal(RefusalCode.CONFLICT, message, 409, headers)
        except Exception as error:  # noqa: BLE001 - masked, and reported under an id
            response = _refused(error, report)
        if request.url.path.startswith("/uploads/"):
            response.headers["Tus-Resumable"] = VERSION
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return guarded


def _refused(error: Exception, report: Report) -> Response:
    known = refusal_of(error)
    if isinstance(known, Refusal):
        return refusal(known.code, known.message, _STATUS.get(known.code, 400))
    error_id = token_hex(8)
    report(error, error_id)
    return refusal(RefusalCode.INTERNAL, f"Something unforeseen; report it as {error_id}.", 500)


def refusal(
    code: RefusalCode, message: str, status: int, headers: dict[str, str] | None = None
) -> Response:
    """A refusal in the shape of the API's errors."""
    body = {"errors": [error_object(code, message)]}
    return JSONResponse(
        body, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})}
    )
