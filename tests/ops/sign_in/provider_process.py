"""The OpenID provider of the tests: npm's certified `oidc-provider`, in a process of its own."""

import asyncio
import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

HERE = Path(__file__).parent / "provider"
RESOURCE = "https://assay.example.edu/api"


def node() -> str:
    """Node with the provider installed; skips where there is none or no registry."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed: no independent OpenID provider to sign in with")
    marker = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        installed = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if installed.returncode:
            pytest.skip(f"npm could not install the OpenID provider: {installed.stderr[-300:]}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_key(kid: str) -> dict[str, Any]:
    key = RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"})
    return dict(key.as_dict(private=True))


@dataclass
class OpenIdProvider:
    """The running provider."""

    port: int
    callback: str
    keys: list[dict[str, Any]] = field(default_factory=lambda: [new_key("first")])
    process: asyncio.subprocess.Process | None = None
    log: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        settings = {"port": self.port, "redirectUri": self.callback, "resource": RESOURCE}
        self.process = await asyncio.create_subprocess_exec(
            node(),
            "provider.mjs",
            json.dumps(settings),
            json.dumps(self.keys),
            cwd=HERE,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while not (line := await self.process.stdout.readline()).startswith(b"http"):
                assert line, "the OpenID provider ended"

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def control(self, **state: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{self.issuer}/control", json=state)

    async def browse(self, address: str, person: str, stop_at: str) -> str:
        """Goes from page to page as `person`, who agrees to all; the address the end is at."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(address)
            for _ in range(12):
                self.log.append(
                    f"{answer.request.method} {_shown(answer.request.url)} -> {answer.status_code}"
                )
                if answer.is_redirect:
                    target = urljoin(str(answer.request.url), answer.headers["location"])
                    if target.startswith(stop_at):
                        return target
                    answer = await http.get(target)
                    continue
                form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
                assert form, answer.text
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                assert prompt, answer.text
                data = {"prompt": prompt[1], "login": person, "password": "x"}
                answer = await http.post(urljoin(str(answer.request.url), form[1]), data=data)
            raise AssertionError("the provider goes round in circles")

    async def tokens(self, person: str, resource: str = RESOURCE) -> dict[str, Any]:
        """What a script gets for `person`: an access token for `resource`, an ID token."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "client_id": "script",
            "response_type": "code",
            "redirect_uri": "http://127.0.0.1/done",
            "scope": "openid email api",
            "resource": resource,
            "nonce": "n",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        address = str(httpx.URL(f"{self.issuer}/auth", params=asked))
        end = await self.browse(address, person, "http://127.0.0.1/done")
        (code,) = parse_qs(urlsplit(end).query)["code"]
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                f"{self.issuer}/token",
                data={
                    "client_id": "script",
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": "http://127.0.0.1/done",
                    "code_verifier": verifier,
                    "resource": resource,
                },
            )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def _shown(url: httpx.URL) -> str:
    names = "&".join(sorted(url.params.keys()))
    return f"{url.path}?{names}" if names else url.path


@asynccontextmanager
async def open_id_provider(callback: str) -> AsyncIterator[OpenIdProvider]:
    """Started, and ended with the test."""
    provider = OpenIdProvider(free_port(), callback)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
