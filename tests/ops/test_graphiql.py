import hashlib
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from ops.graphiql.page import ASSETS, graphiql_routes


@pytest.fixture(params=["", "/behind/a/proxy"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Mount(request.param, routes=graphiql_routes())])
    transport = httpx.ASGITransport(app=app)
    base = f"http://assay{request.param}"
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def test_every_address_in_the_page_is_ours_and_answers(client: httpx.AsyncClient) -> None:
    page = await client.get("/graphiql")
    assert page.status_code == 200
    addresses = [unescape(a) for a in re.findall(r'(?:src|href)="([^"]+)"', page.text)]
    ours = [address for address in addresses if not address.startswith("data:")]
    assert len(ours) == 4
    for address in ours:
        answer = await client.get(str(page.url.join(address)))
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        version = address.partition("?v=")[2]
        assert hashlib.sha256(answer.content).hexdigest().startswith(version)


async def test_the_policy_allows_no_inline_script_and_no_other_origin(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/graphiql")
    policy = dict(
        part.split(" ", 1) for part in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|style=", page.text)
    again = await client.get("/graphiql")
    assert again.headers["content-security-policy"] != page.headers["content-security-policy"]
    (nonce,) = re.findall(r'nonce="([^"]+)"', page.text)
    assert policy["style-src"] == f"'self' 'nonce-{nonce}'"
    assert page.headers["cache-control"] == "no-store"


async def test_an_asset_is_not_sent_twice_and_a_stale_address_is_asked_again(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/graphiql/boot.js?v=old")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await client.get("/graphiql/boot.js", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.parametrize("name", ["nothing.js", "page.py", "..%2Fpage.py", "README.md"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/graphiql/{name}")).status_code == 404


async def test_licences_are_served(client: httpx.AsyncClient) -> None:
    text = (await client.get("/graphiql/LICENSES.txt")).text
    for package in ("graphiql 3.8.3", "react 18.3.1", "graphql-ws 6.4.2", "codemirror 5."):
        assert f"\n{package}" in f"\n{text}"
    assert text.count("Permission is hereby granted") > 50


def test_vendored_files_are_small_and_fetch_nothing_from_elsewhere() -> None:
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 3_000_000
    css = (ASSETS / "graphiql.css").read_text()
    assert not re.search(r"@import|url\((?![\"']?data:)", css)
    boot = (ASSETS / "boot.js").read_text()
    assert "GraphQL-Require-Preflight" in boot
    assert "http://" not in boot
    assert "https://" not in boot
