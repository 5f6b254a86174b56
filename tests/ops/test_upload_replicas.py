"""An upload outlives the process that took its parts, over both kinds of storage."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.processes import serving, working
from ops.settings import Settings, load_settings
from ops.wiring import Resources, open_resources
from persistence.database import Database
from tests.object_storage import CREDENTIALS, s3_address  # noqa: F401 - a fixture
from tests.schema.test_uploads import ADD, CREATE, TUS, material
from tests.world import INSTRUCTOR, World, make_world

STATE = "query($id: ID!) { node(id: $id) { ... on Document { state } } }"
PART = 5_000_000


@pytest.fixture(params=["directory", "s3"])
def settings(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Settings:
    """Those of every process of this installation."""
    stored: dict[str, Any] = {}
    if request.param == "s3":
        stored = {
            "storage_url": f"s3://originals/{tmp_path.name}",
            "storage_endpoint": request.getfixturevalue("s3_address"),
            "storage_region": "us-east-1",
        }
    return load_settings(database_url=database.direct_dsn, data_dir=tmp_path, port=0, **stored)


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """Of the process that stays."""
    async with open_resources(settings) as opened:
        yield opened


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`assay serve` as a process, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert settings.database_url is not None
    environment = CREDENTIALS | {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.data_dir),
        "ASSAY_DATABASE_URL": settings.database_url.get_secret_value(),
        "ASSAY_DATA_DIR": str(settings.data_dir),
        "ASSAY_PORT": str(port),
        "ASSAY_STORAGE_URL": settings.storage_url,
        "ASSAY_STORAGE_ENDPOINT": settings.storage_endpoint,
        "ASSAY_STORAGE_REGION": settings.storage_region,
    }
    command = [sys.executable, "-c", "from ops.cli import app; app()", "serve"]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=log)
        try:
            await _answers(f"http://127.0.0.1:{port}")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _answers(address: str) -> None:
    async with asyncio.timeout(120), httpx.AsyncClient(base_url=address) as http:
        while True:
            try:
                if (await http.get("/live")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def offset(world: World, url: str) -> int:
    return int((await world.http.head(url, headers=TUS)).headers["upload-offset"])


async def send(address: str, url: str, start: int, content: Any) -> int:
    headers = TUS | {
        "Upload-Offset": str(start),
        "Content-Type": "application/offset+octet-stream",
    }
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        answer = await http.patch(url, content=content, headers=headers)
    return answer.status_code


async def test_an_upload_outlives_its_process(resources: Resources, settings: Settings) -> None:
    content = material(3 * PART)
    async with (
        working(resources),
        serving(resources) as here,
        make_world(resources, here) as world,
        api(settings) as (process, there),
    ):
        client = await world.client(INSTRUCTOR)
        upload = await client.change(
            CREATE, courseId=world.course_id, fileName="big.txt", byteSize=len(content)
        )
        url = upload["url"]
        assert await send(there, url, 0, content[:PART]) == 204
        assert await offset(world, url) == PART

        async def endless() -> AsyncIterator[bytes]:
            yield content[PART : 2 * PART]
            await killed.wait()
            for _ in range(1_000):  # a writer learns late that nobody reads
                yield bytes(PART // 1_000)

        killed = asyncio.Event()
        sending = asyncio.create_task(send(there, url, PART, endless()))
        async with asyncio.timeout(90):
            while (kept := await offset(world, url)) == PART:  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        killed.set()
        with pytest.raises(httpx.TransportError):
            await sending
        assert await offset(world, url) == kept
        assert await send(here, url, kept, content[kept:]) == 204
        document = await client.change(ADD, uploadId=upload["id"])
        assert document["byteSize"] == len(content)
        shown = await client.ask(
            "query($id: ID!) { node(id: $id) { ... on Document { originalUrl } } }",
            {"id": document["id"]},
        )
        down = await world.http.get(shown["node"]["originalUrl"])
        assert down.content == content
