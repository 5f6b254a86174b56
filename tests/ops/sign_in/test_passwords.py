"""The bootstrap admin's password: set on the command line, throttled, locked."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from ops.sign_in.routes import Throttle
from resolvers.refusals import Refusal
from tests.ops.test_cli import assay
from tests.schema.test_audit import changes, events
from tests.world import ADMIN, SLUG, STUDENTS, World

PASSWORD = "correct horse battery staple"  # noqa: S105 - of this test
RIGHT = {"organization": SLUG, "email": ADMIN, "password": PASSWORD}


async def set_password(world: World, cwd: Path, email: str, password: str) -> tuple[int, str]:
    code, out, err = await assay(
        cwd,
        *("admin", "password", email, "--organization", SLUG),
        given=password + "\n",
        ASSAY_DATABASE_URL=world.resources.database.direct_dsn,
        ASSAY_DATA_DIR=str(world.resources.settings.data_dir),
    )
    return code or 0, out + err


async def sign_in(http: httpx.AsyncClient, **values: Any) -> httpx.Response:
    return await http.post("/auth/password", json=RIGHT | values)


@pytest.fixture
async def admin_with_password(world: World, tmp_path: Path) -> World:
    code, said = await set_password(world, tmp_path, ADMIN, PASSWORD)
    assert code == 0, said
    return world


async def test_an_admin_signs_in_with_a_password(admin_with_password: World) -> None:
    world = admin_with_password
    answer = await sign_in(world.http)
    assert answer.status_code == 200
    got = answer.json()
    assert {"access_token", "refresh_token", "expires_in", "token_type"} == set(got)
    headers = {"Authorization": f"Bearer {got['access_token']}"}
    seen = await world.http.post(
        "/graphql", json={"query": "{ viewer { email } }"}, headers=headers
    )
    assert seen.json() == {"data": {"viewer": {"email": ADMIN}}}
    by_cookie = await sign_in(world.http, cookie=True)
    assert "refresh_token" not in by_cookie.json()
    assert by_cookie.cookies["assay_refresh"]


async def test_only_an_admin_has_a_password_and_not_a_short_one(
    world: World, tmp_path: Path
) -> None:
    code, said = await set_password(world, tmp_path, STUDENTS[0], PASSWORD)
    assert (code, said) == (1, "Only admins sign in with a password.\n")
    code, said = await set_password(world, tmp_path, ADMIN, "short")
    assert (code, said) == (1, "A password has 12 to 1,000 characters.\n")


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"password": "wrong"}, 401),
        ({"email": "nobody@example.edu"}, 401),
        ({"organization": "nowhere"}, 401),
        ({"password": None}, 400),
        ({"email": "a\0b"}, 400),
        ({"password": "x" * 9_000}, 400),
    ],
)
async def test_what_is_wrong_is_not_told_apart(
    admin_with_password: World, values: dict[str, Any], status: int
) -> None:
    answer = await sign_in(admin_with_password.http, **values)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error_description"].startswith("Organization, e-mail address or")


async def test_five_a_minute_are_taken_and_ten_wrong_ones_lock(
    admin_with_password: World,
) -> None:
    world = admin_with_password
    answers = [await sign_in(world.http, password="wrong") for _ in range(6)]  # noqa: S106 - a wrong one
    assert [a.status_code for a in answers] == [401] * 5 + [429]
    assert [a.headers["ratelimit-remaining"] for a in answers] == ["4", "3", "2", "1", "0", "0"]
    assert {a.headers["ratelimit-limit"] for a in answers} == {"5"}
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].headers["ratelimit-reset"] == answers[-1].headers["retry-after"]
    assert all("retry-after" not in a.headers for a in answers[:-1])
    assert answers[-1].json()["error"] == "LIMIT_EXCEEDED"
    connection = await asyncpg.connect(world.resources.database.direct_dsn)
    try:
        assert await connection.fetchval("SELECT failures FROM password") == 5
        await connection.execute("UPDATE password SET failures = 9")
    finally:
        await connection.close()
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(base_url=world.http.base_url, transport=elsewhere) as http:
        assert (await sign_in(http, password="wrong")).status_code == 401  # noqa: S106 - as above
        assert (await sign_in(http)).status_code == 401, "locked, the right one too"
    refused = await events(await world.client(ADMIN), action="signIn", outcome="REFUSED")
    assert [changes(e)["locked"] for e in refused] == ["true", *["false"] * 6]
    assert {e["actor"]["email"] for e in refused} == {ADMIN}


async def test_who_tries_many_accounts_is_stopped_and_leaves_a_trail(
    admin_with_password: World,
) -> None:
    world = admin_with_password
    codes = [
        (await sign_in(world.http, email=f"guess{n}@example.edu")).status_code for n in range(31)
    ]
    assert codes == [401] * 30 + [429]
    refused = await events(await world.client(ADMIN), action="signIn", outcome="REFUSED")
    assert len(refused) == 30
    assert {e["actor"] for e in refused} == {None}
    assert changes(refused[0])["email"] == "guess29@example.edu"


def test_the_throttle_forgets_after_a_minute() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(5):
        throttle.take("1.2.3.4", "a")
    throttle.take("1.2.3.5", "a")
    with pytest.raises(Refusal, match="in 61 s"):
        throttle.take("1.2.3.4", "a")
    now[0] = 61
    throttle.take("1.2.3.4", "a")
