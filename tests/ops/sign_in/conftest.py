from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ops.demo.client import Client
from ops.processes import serving, working
from ops.settings import Settings, load_settings
from ops.sign_in.providers import Provider
from ops.wiring import Resources, open_resources
from persistence.database import Database
from tests.ops.sign_in.provider_process import (
    RESOURCE,
    OpenIdProvider,
    free_port,
    open_id_provider,
)
from tests.world import SLUG, World, make_world


@dataclass
class SignIn:
    """A server people sign in at, the provider, and a world behind it."""

    provider: OpenIdProvider
    resources: Resources
    settings: Settings
    world: World
    url: str

    async def visit(self, person: str, return_to: str = "/") -> httpx.Response:
        """Signs in with a browser of one's own; the answer of the callback."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            begun = await http.get("/auth/login/school", params={"return_to": return_to})
            assert begun.status_code == 302, begun.text
            callback = f"{self.url}/auth/callback/"
            end = await self.provider.browse(begun.headers["location"], person, callback)
            return await http.get(end)

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
        """What a script posts."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            return await http.post(path, json=body or {}, headers=headers)

    async def refresh(self, token: str) -> Any:
        return await self.post("/auth/refresh", {"refresh_token": token})

    def client(self, access_token: str) -> Client:
        """A client of the API with this token."""
        return Client(self.world.http, access_token)

    async def signed_in(self, person: str) -> dict[str, Any]:
        """The tokens of a new session."""
        answer = await self.visit(person)
        assert answer.status_code == 303, answer.text
        answer = await self.refresh(answer.cookies["assay_refresh"])
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def sign_in(
    database: Database, database_dsn: str, shared_directory: Path
) -> AsyncIterator[SignIn]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with open_id_provider(f"{url}/auth/callback/school") as provider:
        school = Provider(
            name="school",
            organization=SLUG,
            issuer=provider.issuer,
            client_id="assay",
            client_secret=SecretStr("a secret of at least thirty-two characters"),
            audience=RESOURCE,
        )
        settings = load_settings(
            database_url=database_dsn,
            data_dir=shared_directory / "data",
            port=port,
            oidc_providers=(school,),
            cors_origins=("https://app.example.edu",),
        )
        async with (
            open_resources(settings) as resources,
            working(resources),
            serving(resources),
            make_world(resources, url) as world,
        ):
            yield SignIn(provider, resources, settings, world, url)
