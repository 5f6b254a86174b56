"""Providers of models: nothing goes to one the organization has not approved."""

from typing import Any

import pytest

from agents.models.flows import FLOWS as INSIDE
from agents.models.flows import DataFlow
from agents.seating import Seating
from ops.bootstrap import find_user
from ops.demo.client import ApiError, Client
from persistence.providers import provider_approved
from tests.access.people import _foreign_admin
from tests.schema.test_audit import changes, events
from tests.schema.test_grants import refused
from tests.world import ADMIN, APPROVE, INSTRUCTOR, SLUG, STUDENTS, World

FLOWS = "{ dataFlows { feature provider approved } }"
WITHDRAW = """mutation($input: WithdrawProviderInput!) { withdrawProvider(input: $input) {
  approvedProvider { id withdrawnAt } userErrors { code message path } } }"""
LISTED = "{ approvedProviders { provider region } }"
GEMINI = {"provider": "gemini", "region": "europe-west4", "reason": "Contract 7"}


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model outside this server beside those in it."""
    outside = DataFlow("grading", "gemini", "gemini-3", "europe-west4", ("text",), "30 days")
    monkeypatch.setattr(Seating, "flows", lambda *_: (*INSIDE, outside))


async def approved(who: Client) -> dict[str, set[bool]]:
    found: dict[str, set[bool]] = {}
    for flow in (await who.ask(FLOWS))["dataFlows"]:
        found.setdefault(flow["provider"], set()).add(flow["approved"])
    return found


async def allowed(world: World, provider: str, region: str | None = None) -> bool:
    """Whether something may be sent there for the organization of the world."""
    organization = await _organization(world)
    async with world.resources.database.read() as connection:
        return await provider_approved(connection, organization, provider, region)


async def _organization(world: World) -> Any:
    found = await find_user(world.resources.database, slug=SLUG, email=ADMIN)
    assert found is not None
    return found[1]


@pytest.mark.usefixtures("flows")
async def test_a_provider_is_refused_until_it_is_approved(world: World) -> None:
    admin, ann = await world.client(ADMIN), await world.client(STUDENTS[0])
    assert await approved(ann) == {"offline": {True}, "gemini": {False}}
    assert await allowed(world, "offline")
    assert not await allowed(world, "gemini")
    made = await admin.change(APPROVE, **GEMINI)
    assert made["approvedBy"] == {"email": ADMIN}
    assert await approved(ann) == {"offline": {True}, "gemini": {True}}
    assert await allowed(world, "gemini")
    assert await allowed(world, "gemini", "europe-west4")
    assert not await allowed(world, "gemini", "us-central1")
    assert not await allowed(world, "openai")
    assert await approved(await _foreign_admin(world)) == {"offline": {True}, "gemini": {False}}
    assert (await admin.ask(LISTED))["approvedProviders"] == [
        {"provider": "gemini", "region": "europe-west4"}
    ]
    gone = await admin.change(WITHDRAW, approvedProviderId=made["id"], reason="Contract ended")
    assert gone["withdrawnAt"]
    assert not await allowed(world, "gemini")
    again = {"approvedProviderId": made["id"], "reason": "x"}
    assert await refused(admin, WITHDRAW, **again) == "INVALID_STATE"
    await admin.change(APPROVE, **GEMINI | {"region": "us-central1"})
    assert await approved(ann) == {"offline": {True}, "gemini": {False}}, "of another region"
    (event, *_) = await events(admin, action="withdrawProvider", outcome="DONE")
    assert changes(event)["reason"] == "Contract ended"


async def test_who_approves_and_what(world: World) -> None:
    admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
    assert await refused(instructor, APPROVE, **GEMINI) == "FORBIDDEN"
    for values in ({"provider": "offline"}, {"provider": "Gem ini"}, {"region": ""}):
        assert await refused(admin, APPROVE, **GEMINI | values) == "BAD_INPUT"
    await admin.change(APPROVE, **GEMINI)
    assert await refused(admin, APPROVE, **GEMINI) == "BAD_INPUT"
    with pytest.raises(ApiError, match="FORBIDDEN"):
        await instructor.ask(LISTED)
