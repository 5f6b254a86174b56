"""Uploads by the GraphQL multipart request specification.

https://github.com/jaydenseric/graphql-multipart-request-spec: the parts are `operations` (JSON),
`map` (JSON, from part name to paths in the operations) and the files. Files arrive as starlette
`UploadFile`s in the variables the map names.
"""

import hashlib
from collections.abc import Mapping
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from python_multipart import multipart
from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.requests import Request

from ops.edge.errors import RequestRefused, refused
from ops.edge.limits import EdgeLimits
from ops.edge.requests import GraphQLRequest, body_chunks, decode, graphql_request
from resolvers.refusals import RefusalCode

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

SPOOLED_BYTES = 1024 * 1024
FIELDS = ("operations", "map")


async def multipart_request(request: Request, limits: EdgeLimits) -> GraphQLRequest:
    """Read an upload as it streams in. The caller closes the files of the request.

    Raises `RequestRefused`: TOO_LARGE at the first byte beyond a limit, BAD_INPUT for a body
    that is cut short or no multipart, and for a map that doesn't fit.
    """
    form = _Form(limits)
    try:
        await form.read(request)
        body = decode(form.field("operations"), limits)
        parsed = graphql_request(body)
        variables = cast("dict[str, Any]", parsed.variables)
        _place(variables, decode(form.field("map"), limits), form.files)
    except BaseException:
        await form.close()
        raise
    return GraphQLRequest(
        parsed.query,
        variables,
        parsed.operation_name,
        parsed.extensions,
        tuple(form.files.values()),
    )


class HashedFile(UploadFile):
    """A file and the SHA-256 of what came of it; larger ones lie on the disk."""

    def __init__(self, filename: str, headers: Headers) -> None:
        spool = SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - closed by `close`
        super().__init__(cast("BinaryIO", spool), size=0, filename=filename, headers=headers)
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """In hexadecimal, of the whole file once the body has been read."""
        return self._digest.hexdigest()

    async def take(self, data: bytes) -> None:
        """Appends what came."""
        self._digest.update(data)
        await self.write(data)


class _Form:
    """The parts of a multipart body, within the limits."""

    def __init__(self, limits: EdgeLimits) -> None:
        self.files: dict[str, HashedFile] = {}
        self._fields: dict[str, bytearray] = {}
        self._limits = limits
        self._headers: list[tuple[bytes, bytes]] = []
        self._name = bytearray()
        self._value = bytearray()
        self._into: HashedFile | bytearray | None = None
        self._received = 0
        self._writes: list[tuple[HashedFile, bytes]] = []
        self._ended = False

    def field(self, name: str) -> bytes:
        """The bytes of a field. Raises `RequestRefused` when it is missing."""
        if name not in self._fields:
            raise refused(RefusalCode.BAD_INPUT, f"The upload has no `{name}` part.")
        return bytes(self._fields[name])

    async def read(self, request: Request) -> None:
        """Take the whole body, writing files as they come."""
        try:
            parser = multipart.MultipartParser(_boundary(request), self._callbacks())
            async for chunk in body_chunks(request, self._limits.stall_seconds):
                parser.write(chunk)
                for file, data in self._writes:
                    await file.take(data)
                self._writes.clear()
        except FormParserError:
            raise refused(RefusalCode.BAD_INPUT, "The body is not valid multipart.") from None
        if not self._ended:
            raise refused(RefusalCode.BAD_INPUT, "The multipart body is cut short.")
        for file in self.files.values():
            await file.seek(0)

    async def close(self) -> None:
        """Close the files received so far."""
        for file in self.files.values():
            await file.close()

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def _on_part_begin(self) -> None:
        self._headers = []
        self._into = None
        self._received = 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((bytes(self._name).lower(), bytes(self._value)))
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        disposition = dict(self._headers).get(b"content-disposition")
        _, options = multipart.parse_options_header(disposition)
        name = _text(options.get(b"name", b""))
        if not name or name in self._fields or name in self.files:
            raise refused(RefusalCode.BAD_INPUT, "Each part needs a name of its own.")
        if b"filename" not in options:
            if name not in FIELDS:
                raise refused(RefusalCode.BAD_INPUT, f"The part {name[:80]!r} is no file.")
            self._into = self._fields[name] = bytearray()
            return
        if len(self.files) == self._limits.files:
            most = self._limits.files
            message = f"More than {most} files were sent."
            raise refused(RefusalCode.TOO_LARGE, message, limit="files", value=most)
        file = HashedFile(_text(options[b"filename"]), Headers(raw=self._headers))
        self._into = self.files[name] = file

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._received += end - start
        if isinstance(self._into, bytearray):
            if self._received > self._limits.body_bytes:
                raise _too_large("body_bytes", self._limits.body_bytes, "A field of the upload")
            self._into += data[start:end]
        elif self._into is not None:
            if self._received > self._limits.file_bytes:
                raise _too_large("file_bytes", self._limits.file_bytes, "The file")
            self._writes.append((self._into, data[start:end]))

    def _on_end(self) -> None:
        self._ended = True


def _too_large(name: str, most: int, what: str) -> RequestRefused:
    return refused(
        RefusalCode.TOO_LARGE, f"{what} is larger than {most} bytes.", limit=name, value=most
    )


def _boundary(request: Request) -> bytes:
    _, options = multipart.parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if not boundary:
        raise refused(RefusalCode.BAD_INPUT, "The multipart body names no boundary.")
    return boundary


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise refused(RefusalCode.BAD_INPUT, "Names of parts must be UTF-8.") from None
    if "\0" in text:
        raise refused(RefusalCode.BAD_INPUT, "Text must not contain the NUL character.")
    return text


def _place(variables: dict[str, Any], mapping: object, files: Mapping[str, UploadFile]) -> None:
    """Put each file where the map says, in place of the null that stands there."""
    if not isinstance(mapping, dict):
        raise refused(RefusalCode.BAD_INPUT, "`map` must be an object.")
    if mapping.keys() != files.keys():
        raise refused(RefusalCode.BAD_INPUT, "`map` must name each file that was sent, once.")
    for name, paths in mapping.items():
        if not isinstance(paths, list) or not paths:
            raise refused(RefusalCode.BAD_INPUT, "`map` must give each file a list of paths.")
        for path in paths:
            _place_one(variables, path, files[name])


def _place_one(variables: dict[str, Any], path: object, file: UploadFile) -> None:
    steps = path.split(".") if isinstance(path, str) else []
    if len(steps) < 2 or steps[0] != "variables":
        raise refused(RefusalCode.BAD_INPUT, "A path of `map` must begin with `variables.`.")
    holder: object = variables
    for step in steps[1:-1]:
        holder = _below(holder, step)
    if _below(holder, steps[-1]) is not None:
        raise refused(RefusalCode.BAD_INPUT, "A path of `map` must lead to a null.")
    if isinstance(holder, dict):
        holder[steps[-1]] = file
    elif isinstance(holder, list):
        holder[int(steps[-1])] = file


def _below(holder: object, step: str) -> object:
    if isinstance(holder, dict) and step in holder:
        found: object = holder[step]
        return found
    if isinstance(holder, list) and step.isascii() and step.isdigit() and len(step) < 6:
        index = int(step)
        if index < len(holder):
            item: object = holder[index]
            return item
    raise refused(RefusalCode.BAD_INPUT, "A path of `map` leads nowhere in the variables.")
