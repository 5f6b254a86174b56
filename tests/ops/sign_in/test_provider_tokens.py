"""Access tokens of a provider, taken as they are: those it meant for us, and no others."""

import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from ops.demo.client import ApiError
from ops.sign_in.provider_tokens import ProviderTokens
from resolvers.refusals import Refusal
from tests.ops.sign_in.conftest import SignIn
from tests.ops.sign_in.provider_process import new_key
from tests.world import STUDENTS

ANN = STUDENTS[0]
ME = "{ viewer { email } }"
JUNK = [
    7,
    {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
    {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
    {"kty": "unheard-of", "kid": "new"},
]


async def refused(sign_in: SignIn, token: str) -> str:
    answer = await sign_in.client(token).raw(ME)
    return str(answer["errors"][0]["extensions"]["code"])


async def linked(sign_in: SignIn) -> dict[str, Any]:
    """Tokens of somebody who has signed in once."""
    await sign_in.signed_in("ann")
    return await sign_in.provider.tokens("ann")


def edited(token: str, header: dict[str, Any], **claims: Any) -> list[str]:
    parts = token.split(".")
    read = [json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in parts[:2]]
    made = [read[0] | header, read[1] | claims]
    return [base64.urlsafe_b64encode(json.dumps(m).encode()).decode().rstrip("=") for m in made]


async def test_a_token_for_us_is_taken_once_its_subject_has_signed_in(sign_in: SignIn) -> None:
    stranger = await sign_in.provider.tokens("ann")
    assert await refused(sign_in, stranger["access_token"]) == "UNAUTHENTICATED"
    got = await linked(sign_in)
    assert await sign_in.client(got["access_token"]).ask(ME) == {"viewer": {"email": ANN}}


async def test_other_tokens_are_refused(sign_in: SignIn) -> None:
    got = await linked(sign_in)
    token = got["access_token"]
    signature = token.split(".")[2]
    elsewhere = await sign_in.provider.tokens("ann", "https://other.example.edu/api")
    other_key = RSAKey.import_key(new_key("first"))
    head = {"alg": "RS256", "typ": "at+jwt", "kid": "first"}
    own = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    public = sign_in.provider.keys[0]["n"]
    bad = {
        "an ID token": got["id_token"],
        "another audience": elsewhere["access_token"],
        "alg none": ".".join([*edited(token, {"alg": "none"}), ""]),
        "alg none, signed": ".".join([*edited(token, {"alg": "none"}), signature]),
        "changed": ".".join([*edited(token, {}, sub="admin"), signature]),
        "another key of the same id": jwt.encode(head, own, other_key),
        "the public key as a secret": ".".join([*edited(token, {"alg": "HS256"}), public[:43]]),
        "an unknown key": jwt.encode(head | {"kid": "?"}, own, other_key),
        "too long": token + "A" * 9_000,
    }
    for what, shown in bad.items():
        assert await refused(sign_in, shown) == "UNAUTHENTICATED", what
    with pytest.raises(ApiError, match="UNAUTHENTICATED"):
        await sign_in.client("..").ask(ME)


async def test_clocks_may_differ_by_half_a_minute(sign_in: SignIn) -> None:
    got = await linked(sign_in)
    (keys,) = sign_in.resources.provider_tokens._by_issuer[sign_in.provider.issuer]  # noqa: SLF001 - the real keys under another clock
    end = time.time() + got["expires_in"]
    for now, code in ((end + 20, None), (end + 40, "TOKEN_EXPIRED"), (time.time() - 20, None)):
        tokens = ProviderTokens([keys], lambda now=now: now)  # type: ignore[misc]
        if code is None:
            assert await tokens.verify(got["access_token"])
        else:
            with pytest.raises(Refusal) as refusal:
                await tokens.verify(got["access_token"])
            assert refusal.value.code == code
    early = ProviderTokens([keys], lambda: time.time() - 60)
    with pytest.raises(Refusal):
        await early.verify(got["access_token"])


async def test_keys_are_rotated_served_on_and_a_bad_one_hurts_nobody(sign_in: SignIn) -> None:
    got = await linked(sign_in)
    now = [0.0]
    (keys,) = sign_in.resources.provider_tokens._by_issuer[sign_in.provider.issuer]  # noqa: SLF001 - as above
    mine = type(keys)(keys.provider, keys._http, lambda: now[0])  # noqa: SLF001 - as above
    tokens = ProviderTokens([mine], time.time)
    await sign_in.provider.control(junk=JUNK)
    assert await tokens.verify(got["access_token"])
    # A new key: unknown, so the set is read again, but not more often than every 30 s.
    await sign_in.provider.stop()
    sign_in.provider.keys.insert(0, new_key("second"))
    await sign_in.provider.start()
    new = await sign_in.provider.tokens("ann")
    with pytest.raises(Refusal):
        await tokens.verify(new["access_token"])
    now[0] = 31
    assert await tokens.verify(new["access_token"])
    # Away, and past the ten minutes: served from what was read last.
    await sign_in.provider.control(away=True)
    now[0] = 2_000
    assert await tokens.verify(got["access_token"])
    assert await tokens.verify(new["access_token"])
    # Back, without the old key: its tokens end.
    await sign_in.provider.stop()
    sign_in.provider.keys.pop()
    await sign_in.provider.start()
    now[0] = 4_000
    assert await tokens.verify(new["access_token"])
    with pytest.raises(Refusal):
        await tokens.verify(got["access_token"])
