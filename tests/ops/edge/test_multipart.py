"""Uploads by the GraphQL multipart request specification, against a real server."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.ops.edge.conftest import Serve, Served

UPLOAD = "mutation($files:[Upload!]!){upload(files:$files){name size}}"
ONE = {"query": UPLOAD, "variables": {"files": [None]}}
PREFLIGHT = {"graphql-require-preflight": "1", "authorization": "Bearer ada"}
BOUNDARY = "cut-here"
END = f"--{BOUNDARY}--\r\n".encode()


def part(name: str, body: bytes, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + body + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def upload(mapping: object, operations: object = ONE, *files: bytes) -> bytes:
    return form(
        part("operations", json.dumps(operations).encode()),
        part("map", json.dumps(mapping).encode()),
        *(files or (part("0", b"hello", "a.txt"),)),
    )


async def send(edge: Served, body: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    content_type = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await edge.client.post(
        "/graphql", content=body, headers={**PREFLIGHT, **content_type, **headers}
    )


async def test_files_arrive_in_the_variables_and_are_closed(edge: Served) -> None:
    operations = {"query": UPLOAD, "variables": {"files": [None, None]}}
    response = await edge.client.post(
        "/graphql",
        data={
            "operations": json.dumps(operations),
            "map": json.dumps({"0": ["variables.files.0"], "1": ["variables.files.1"]}),
        },
        files={"0": ("é.txt", b"hello"), "1": ("b.bin", b"\0" * 3_000_000)},
        headers=PREFLIGHT,
    )
    assert response.json() == {
        "data": {"upload": [{"name": "é.txt", "size": 5}, {"name": "b.bin", "size": 3_000_000}]}
    }
    assert [file.file.closed for file in edge.world.uploads] == [True, True]


async def test_one_file_may_stand_in_two_places(edge: Served) -> None:
    operations = {"query": UPLOAD, "variables": {"files": [None, None]}}
    body = upload({"0": ["variables.files.0", "variables.files.1"]}, operations)
    assert len((await send(edge, body)).json()["data"]["upload"]) == 2


async def test_without_the_preflight_header_nothing_is_read(edge: Served) -> None:
    response = await edge.client.post(
        "/graphql", data={"operations": "{}", "map": "{}"}, files={"0": b"x"}
    )
    assert response.status_code == 415
    assert "GraphQL-Require-Preflight" in response.json()["errors"][0]["message"]


BAD = {
    "map is no object": upload([1]),
    "map is null": upload(None),
    "map without the file": upload({}),
    "map with another file": upload({"0": ["variables.files.0"], "1": ["variables.files.0"]}),
    "map with no list": upload({"0": "variables.files.0"}),
    "map with no path": upload({"0": []}),
    "path of another type": upload({"0": [5]}),
    "path outside the variables": upload({"0": ["query"]}),
    "path into a batch": upload({"0": ["0.variables.files.0"]}),
    "path of nothing": upload({"0": ["variables"]}),
    "path that leads nowhere": upload({"0": ["variables.other"]}),
    "path beyond the list": upload({"0": ["variables.files.1"]}),
    "path with a negative index": upload({"0": ["variables.files.-1"]}),
    "path with an endless index": upload({"0": ["variables.files." + "9" * 5_000]}),
    "path through a null": upload({"0": ["variables.files.0.x"]}),
    "path to a value": upload({"0": ["variables.x"]}, {**ONE, "variables": {"x": 1}}),
    "operations is a batch": upload({"0": ["variables.files.0"]}, [ONE]),
    "operations is null": upload({"0": ["variables.files.0"]}, None),
    "operations is not JSON": form(part("operations", b"{"), part("map", b"{}")),
    "no operations": form(part("map", b"{}"), part("0", b"x", "a")),
    "no map": form(part("operations", json.dumps(ONE).encode()), part("0", b"x", "a")),
    "a second file of the same name": upload(
        {"0": ["variables.files.0"]}, ONE, part("0", b"x", "a"), part("0", b"y", "b")
    ),
    "a part without a name": form(f"--{BOUNDARY}\r\nX-Y: z\r\n\r\nbody\r\n".encode()),
    "another field": form(part("else", b"x")),
    "a NUL in a file name": upload({"0": ["variables.files.0"]}, ONE, part("0", b"x", "a\0b")),
    "a body cut short": upload({"0": ["variables.files.0"]}).removesuffix(END),
    "an empty body": b"",
    "no multipart": b"{}",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
async def test_a_bad_upload_is_a_typed_400(edge: Served, body: bytes) -> None:
    response = await send(edge, body)
    assert response.status_code == 400
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_INPUT"
    assert edge.world.reports == []


async def test_a_boundary_is_needed(edge: Served) -> None:
    response = await send(edge, upload({}), **{"content-type": "multipart/form-data"})
    assert response.status_code == 400
    long = {"content-type": "multipart/form-data; boundary=" + "x" * 5_000}
    assert (await send(edge, upload({}), **long)).status_code == 400


@pytest.mark.parametrize("declared", [True, False], ids=["with a length", "chunked"])
async def test_an_upload_of_30_megabytes_is_refused_and_the_connection_lives(
    edge: Served, declared: bool
) -> None:
    file = part("0", b"x" * (30 * 1024 * 1024), "big.bin")
    body = upload({"0": ["variables.files.0"]}, ONE, file)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 262_144):
            yield body[start : start + 262_144]

    response = await send(edge, body if declared else chunks())
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"] == {
        "code": "TOO_LARGE",
        "limit": "file_bytes",
        "value": 25 * 1024 * 1024,
    }
    assert (await edge.post("{hello}")).status_code == 200


async def test_fields_and_the_number_of_files_are_limited(serve: Serve) -> None:
    async with serve(files=2, body_bytes=1_000, file_bytes=10) as edge:
        names = "012"
        three = upload({}, ONE, *(part(name, b"x", "a") for name in names))
        long_field = form(part("operations", b" " * 1_001))
        long_file = upload({}, ONE, part("0", b"x" * 11, "a"))
        limits = []
        for body in (three, long_field, long_file):
            response = await send(edge, body)
            assert response.status_code == 413
            limits.append(response.json()["errors"][0]["extensions"]["limit"])
        assert limits == ["files", "body_bytes", "file_bytes"]


async def test_files_of_an_operation_that_never_runs_are_closed(edge: Served) -> None:
    invalid = {"query": "mutation{missing}", "variables": {"files": [None]}}
    response = await send(edge, upload({"0": ["variables.files.0"]}, invalid))
    assert response.json()["errors"][0]["extensions"]["code"] == "INVALID_DOCUMENT"
    assert edge.world.uploads == []
