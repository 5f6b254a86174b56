"""People sign in at an independent OpenID provider; sessions go on, end, and cannot be stolen."""

import asyncio
import base64
import json
import logging
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from ops.demo.client import ApiError
from ops.processes import serving
from ops.wiring import open_resources
from tests.ops.sign_in.conftest import SignIn
from tests.schema.test_audit import events
from tests.world import ADMIN, STUDENTS

ANN, BOB, _ = STUDENTS
ME = "{ viewer { email } }"
EVERYWHERE = """mutation($input: SignOutEverywhereInput!) { signOutEverywhere(input: $input) {
  user { email } userErrors { code } } }"""
logger = logging.getLogger(__name__)


def claims_of(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    )
    return found


async def test_signing_in_by_code_with_pkce_state_and_nonce(sign_in: SignIn) -> None:
    async with httpx.AsyncClient(base_url=sign_in.url, trust_env=False) as http:
        begun = await http.get("/auth/login/school", params={"return_to": "/courses?x=1"})
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert {"code_challenge", "nonce", "state"} <= set(asked)
        assert asked["redirect_uri"] == [f"{sign_in.url}/auth/callback/school"]
        end = await sign_in.provider.browse(
            begun.headers["location"], "ann", f"{sign_in.url}/auth/callback/"
        )
        answer = await http.get(end)
        assert (answer.status_code, answer.headers["location"]) == (303, "/courses?x=1")
        cookie = next(c for c in answer.headers.get_list("set-cookie") if "assay_refresh" in c)
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        again = await http.get(end)
        assert again.status_code == 401, "a code and a state are used once"
        refused = await http.post("/auth/refresh", json={})
        assert refused.status_code == 400, "a page of another site can send the cookie"
        got = await http.post("/auth/refresh", json={}, headers={"graphql-require-preflight": "1"})
        assert "refresh_token" not in got.json()
        said = claims_of(got.json()["access_token"])
        assert (said["iss"], said["aud"], got.json()["token_type"]) == ("assay", "assay", "Bearer")
        assert said["exp"] - said["iat"] == got.json()["expires_in"] == 900
        seen = await sign_in.client(got.json()["access_token"]).ask(ME)
        assert seen == {"viewer": {"email": ANN}}
    logger.info("the exchange:\n%s", "\n".join(sign_in.provider.log))
    admin = await sign_in.world.client(ADMIN)
    (event,) = await events(admin, action="signIn")
    assert (event["actor"]["email"], event["outcome"]) == (ANN, "DONE")


async def test_a_person_is_found_by_subject_and_never_by_an_unverified_address(
    sign_in: SignIn,
) -> None:
    first = await sign_in.signed_in("ann")
    second = await sign_in.signed_in("ann")
    assert claims_of(first["access_token"])["sub"] == claims_of(second["access_token"])["sub"]
    for person in ("bob", "eve"):  # not verified; not known
        answer = await sign_in.visit(person)
        assert answer.status_code == 403
        assert "assay_refresh" not in answer.cookies
    admin = await sign_in.world.client(ADMIN)
    refused = await events(admin, action="signIn", outcome="REFUSED")
    assert [e["actor"] for e in refused] == [None, None]
    assert {c["value"] for e in refused for c in e["changes"] if c["path"] == "subject"} == {
        "bob",
        "eve",
    }


@pytest.mark.parametrize(
    "address",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "x"],
)
async def test_nobody_is_sent_elsewhere(sign_in: SignIn, address: str) -> None:
    async with httpx.AsyncClient(base_url=sign_in.url, trust_env=False) as http:
        answer = await http.get("/auth/login/school", params={"return_to": address})
        assert (answer.status_code, answer.json()["error"]) == (400, "BAD_INPUT")
        answer = await http.get(
            "/auth/login/school", params={"return_to": "https://app.example.edu/x"}
        )
        assert answer.status_code == 302
        assert (await http.get("/auth/login/unknown")).status_code == 404
        forged = await http.get("/auth/callback/school", params={"code": "x", "state": "y"})
        assert forged.status_code == 401
        denied = await http.get("/auth/callback/school", params={"error": "access_denied"})
        assert "access_denied" in denied.json()["error_description"]


async def test_a_refresh_token_used_twice_ends_the_session_at_once(sign_in: SignIn) -> None:
    got = await sign_in.signed_in("ann")
    stolen = got["refresh_token"]
    renewed = (await sign_in.refresh(stolen)).json()
    assert (await sign_in.client(renewed["access_token"]).ask(ME))["viewer"]
    assert (await sign_in.refresh(stolen)).status_code == 401
    assert (await sign_in.refresh(renewed["refresh_token"])).status_code == 401
    for token in (got["access_token"], renewed["access_token"]):
        with pytest.raises(ApiError, match="UNAUTHENTICATED"):
            await sign_in.client(token).ask(ME)
    (event,) = await events(await sign_in.world.client(ADMIN), action="reuseRefreshToken")
    assert event["actor"]["email"] == ANN
    assert (await sign_in.refresh("nonsense")).status_code == 401


async def test_of_two_refreshes_at_once_one_wins_and_the_session_ends(sign_in: SignIn) -> None:
    got = await sign_in.signed_in("ann")
    answers = await asyncio.gather(*(sign_in.refresh(got["refresh_token"]) for _ in range(5)))
    assert sorted(a.status_code for a in answers) == [200, 401, 401, 401, 401]
    (winner,) = [a.json() for a in answers if a.status_code == 200]
    assert (await sign_in.refresh(winner["refresh_token"])).status_code == 401


async def test_signing_out_ends_one_session_and_everywhere_ends_all(sign_in: SignIn) -> None:
    one, other = await sign_in.signed_in("ann"), await sign_in.signed_in("ann")
    answer = await sign_in.post("/auth/logout", {"refresh_token": one["refresh_token"]})
    assert answer.status_code == 204
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        await sign_in.client(one["access_token"]).ask(ME)
    assert (await sign_in.client(other["access_token"]).ask(ME))["viewer"]
    by_hand = await sign_in.world.token(ANN)
    done = await sign_in.client(other["access_token"]).change(EVERYWHERE)
    assert done == {"email": ANN}
    for token in (other["access_token"], by_hand):
        with pytest.raises(ApiError, match="UNAUTHENTICATED"):
            await sign_in.client(token).ask(ME)
    assert (await sign_in.refresh(other["refresh_token"])).status_code == 401
    assert (await sign_in.signed_in("ann"))["access_token"]


async def test_an_open_subscription_on_another_replica_ends_with_the_session(
    sign_in: SignIn,
) -> None:
    got = await sign_in.signed_in("ann")
    session = await sign_in.client(got["access_token"]).change(
        "mutation($input: CreateStudySessionInput!) { createStudySession(input: $input) {"
        " studySession { id } userErrors { code } } }",
        courseId=sign_in.world.course_id,
    )
    follow = "subscription($id: ID!) { studyMessage(sessionId: $id) { seq } }"
    settings = sign_in.settings.model_copy(update={"port": 0})
    async with (
        open_resources(settings) as resources,
        serving(resources) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        client = type(sign_in.client(""))(http, got["access_token"])

        async def following() -> None:
            async with client.follow(follow, {"id": session["id"]}) as told:
                async for _ in told:
                    pass

        task = asyncio.create_task(following())
        await asyncio.sleep(0.5)
        ended = time.monotonic()
        await sign_in.post("/auth/logout", {"refresh_token": got["refresh_token"]})
        with pytest.raises(ApiError, match="UNAUTHENTICATED"):
            await asyncio.wait_for(task, 5)
        took = time.monotonic() - ended
    logger.info("from the logout to the ended subscription on another replica: %.2f s", took)
    assert took < 2


async def test_the_provider_is_away_and_comes_back(sign_in: SignIn) -> None:
    await sign_in.provider.control(away=True)
    async with httpx.AsyncClient(base_url=sign_in.url, trust_env=False) as http:
        answer = await http.get("/auth/login/school")
        assert (answer.status_code, answer.json()["error"]) == (503, "UNAVAILABLE")
        await sign_in.provider.control(away=False)
        assert (await http.get("/auth/login/school")).status_code == 302
        assert (await http.get("/auth/providers")).json() == [
            {"name": "school", "organization": "test"}
        ]
