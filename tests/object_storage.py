"""A server that speaks S3, and a storage of each kind for tests."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from moto.server import ThreadedMotoServer

from persistence.objects import ObjectStorage, open_storage

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server of its own with a bucket named originals."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """A server that speaks S3, shared by the tests of this worker."""
    with s3_server() as address:
        httpx.put(f"{address}/originals").raise_for_status()
        yield address


@pytest.fixture(params=["directory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    """Each kind of storage, empty."""
    if request.param == "directory":
        return open_storage((tmp_path / "originals").as_uri())
    address = request.getfixturevalue("s3_address")
    return open_storage(f"s3://originals/{token_hex(4)}", endpoint=address, region="us-east-1")
