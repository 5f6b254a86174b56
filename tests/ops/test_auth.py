import base64
import hmac
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ops.auth import AccessTokens, TokenClaims
from ops.signing_keys import SigningKeyError, SigningKeys
from resolvers.refusals import Refusal, RefusalCode

USER, ORGANIZATION = uuid4(), uuid4()
NOW = 1_800_000_000
KEYS = SigningKeys.generate()


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> AccessTokens:
    return AccessTokens(KEYS, "assay", "assay-api", clock=clock)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; a change to `...` leaves one out."""
    good = {
        "iss": "assay",
        "aud": "assay-api",
        "sub": str(USER),
        "org": str(ORGANIZATION),
        "iat": NOW,
        "exp": NOW + 900,
        "jti": "a",
    } | changes
    return {name: value for name, value in good.items() if value is not ...}


def signed(body: dict[str, Any] | None = None, key: OKPKey | None = None, **header: Any) -> str:
    head = {"alg": "Ed25519", "typ": "at+jwt", "kid": KEYS.signing_kid} | header
    head = {name: value for name, value in head.items() if value is not ...}
    return jwt.encode(
        head, body or claims(), key or KEYS.signing_key, algorithms=["Ed25519"], default_type=None
    )


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def refused(tokens: AccessTokens, token: str) -> RefusalCode:
    with pytest.raises(Refusal) as caught:
        tokens.verify_token(token)
    assert caught.value.__cause__ is None
    return caught.value.code


def test_a_token_says_who_where_and_until_when(tokens: AccessTokens) -> None:
    token = tokens.issue_token(USER, ORGANIZATION)
    verified = tokens.verify_token(token)
    assert verified == TokenClaims(
        USER,
        ORGANIZATION,
        datetime.fromtimestamp(NOW, UTC),
        datetime.fromtimestamp(NOW + 900, UTC),
        verified.jti,
    )
    assert tokens.verify_token(token) == verified
    assert tokens.verify_token(tokens.issue_token(USER, ORGANIZATION)).jti != verified.jti
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": "Ed25519", "typ": "at+jwt", "kid": KEYS.signing_kid}


def test_a_token_made_elsewhere_by_the_same_rules_is_accepted(tokens: AccessTokens) -> None:
    assert tokens.verify_token(signed()).user_id == USER
    assert tokens.verify_token(signed(claims(aud=["other", "assay-api"]))).user_id == USER


def test_it_expires_to_the_second_also_when_it_was_seen_before(
    tokens: AccessTokens, clock: Clock
) -> None:
    seen = tokens.issue_token(USER, ORGANIZATION, timedelta(minutes=5))
    unseen = tokens.issue_token(USER, ORGANIZATION, timedelta(minutes=5))
    clock.now = NOW + 299
    tokens.verify_token(seen)
    clock.now = NOW + 300
    assert refused(tokens, seen) is RefusalCode.TOKEN_EXPIRED
    assert refused(tokens, seen) is RefusalCode.TOKEN_EXPIRED
    assert refused(tokens, unseen) is RefusalCode.TOKEN_EXPIRED


def test_only_an_explicit_long_lived_token_outlives_a_quarter_of_an_hour(
    tokens: AccessTokens, clock: Clock
) -> None:
    for ttl in (timedelta(minutes=16), timedelta(0), timedelta(seconds=-1)):
        with pytest.raises(ValueError, match="life"):
            tokens.issue_token(USER, ORGANIZATION, ttl or timedelta(microseconds=1))
    with pytest.raises(ValueError, match="life"):
        tokens.issue_token(USER, ORGANIZATION, timedelta(hours=13), long_lived=True)
    with pytest.raises(ValueError, match="life"):
        AccessTokens(KEYS, "assay", "assay-api", ttl=timedelta(hours=1))
    token = tokens.issue_token(USER, ORGANIZATION, timedelta(hours=12), long_lived=True)
    clock.now += 11 * 3600
    assert tokens.verify_token(token).user_id == USER


@pytest.mark.parametrize(
    "changes",
    [{name: ...} for name in ("iss", "aud", "sub", "org", "iat", "exp", "jti")]
    + [
        {"iss": "someone"},
        {"iss": ["assay"]},
        {"aud": "other"},
        {"aud": []},
        {"aud": {"assay-api": 1}},
        {"sub": "admin"},
        {"sub": USER.hex},
        {"sub": None},
        {"org": 7},
        {"jti": 7},
        {"exp": True},
        {"exp": NOW + 0.5},
        {"exp": "9999999999"},
        {"exp": 10**30},
        {"exp": NOW + 12 * 3600 + 1},
        {"iat": NOW + 31, "exp": NOW + 900},
        {"iat": NOW + 20, "exp": NOW + 10},
        {"iat": "now"},
        {"iat": 0},
        {"nbf": NOW + 10},
    ],
)
def test_claims_that_do_not_fit_are_refused(tokens: AccessTokens, changes: dict[str, Any]) -> None:
    assert refused(tokens, signed(claims(**changes))) is RefusalCode.UNAUTHENTICATED


def test_replicas_clocks_may_differ_a_little(tokens: AccessTokens) -> None:
    assert tokens.verify_token(signed(claims(iat=NOW + 20))).user_id == USER


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "JWT"},
        {"typ": ...},
        {"typ": 7},
        {"kid": "unknown"},
        {"kid": ...},
        {"kid": 7},
        {"crit": ["exp"], "exp": 1},
    ],
)
def test_headers_that_do_not_fit_are_refused(tokens: AccessTokens, header: dict[str, Any]) -> None:
    try:
        token = signed(**header)
    except Exception:  # noqa: BLE001 - joserfc won't write some of them, so they are written by hand
        head = {"alg": "Ed25519", "typ": "at+jwt", "kid": KEYS.signing_kid} | header
        signing = f"{b64(head)}.{b64(claims())}"
        private = KEYS.signing_key.private_key
        assert private is not None
        token = f"{signing}.{b64(private.sign(signing.encode()))}"  # type: ignore[union-attr]  # an Ed25519 key
    assert refused(tokens, token) is RefusalCode.UNAUTHENTICATED


def test_a_stranger_s_key_under_our_kid_is_refused(tokens: AccessTokens) -> None:
    stranger = OKPKey.generate_key("Ed25519")
    assert refused(tokens, signed(key=stranger)) is RefusalCode.UNAUTHENTICATED


def test_alg_none_is_refused(tokens: AccessTokens) -> None:
    for alg in ("none", "None", "NONE", "", None):
        head = {"alg": alg, "typ": "at+jwt", "kid": KEYS.signing_kid}
        for signature in ("", "AA", signed().split(".")[2]):
            token = f"{b64(head)}.{b64(claims())}.{signature}"
            assert refused(tokens, token) is RefusalCode.UNAUTHENTICATED


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_other_algorithms_are_refused_also_with_our_public_key_as_their_secret(
    tokens: AccessTokens,
) -> None:
    public = KEYS.public_jwks()["keys"][0]
    secrets = [
        base64.urlsafe_b64decode(public["x"] + "="),
        public["x"].encode(),
        json.dumps(public).encode(),
        KEYS.signing_key.as_pem(private=False),
    ]
    head = {"typ": "at+jwt", "kid": KEYS.signing_kid}
    forged = []
    for secret in secrets:
        signing = f"{b64(head | {'alg': 'HS256'})}.{b64(claims())}"
        forged.append(f"{signing}.{b64(hmac.digest(secret, signing.encode(), 'sha256'))}")
    forged.append(jwt.encode(head | {"alg": "ES256"}, claims(), ECKey.generate_key("P-256")))
    forged.append(jwt.encode(head | {"alg": "RS256"}, claims(), RSAKey.generate_key(2048)))
    forged.append(
        jwt.encode(head | {"alg": "EdDSA"}, claims(), KEYS.signing_key, algorithms=["EdDSA"])
    )
    for token in forged:
        assert refused(tokens, token) is RefusalCode.UNAUTHENTICATED


def test_a_changed_byte_is_refused(tokens: AccessTokens) -> None:
    head, body, signature = signed().split(".")
    other = b64(claims(sub=str(uuid4())))
    assert refused(tokens, f"{head}.{other}.{signature}") is RefusalCode.UNAUTHENTICATED
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert refused(tokens, f"{head}.{body}.{flipped}") is RefusalCode.UNAUTHENTICATED


def test_a_token_over_8_kib_is_refused_though_it_is_signed(tokens: AccessTokens) -> None:
    fits, over = signed(claims(pad="x" * 4_000)), signed(claims(pad="x" * 8_000))
    assert tokens.verify_token(fits).user_id == USER
    assert refused(tokens, over) is RefusalCode.UNAUTHENTICATED


@given(st.one_of(st.text(max_size=200), st.lists(st.binary(max_size=60), max_size=4)))
def test_nonsense_is_refused_and_never_raises_anything_else(nonsense: str | list[bytes]) -> None:
    token = nonsense if isinstance(nonsense, str) else ".".join(b64(part) for part in nonsense)
    tokens = AccessTokens(KEYS, "assay", "assay-api")
    assert refused(tokens, token) is RefusalCode.UNAUTHENTICATED


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=6,
    )
)
def test_any_json_as_header_or_signed_body_is_refused(value: object) -> None:
    tokens = AccessTokens(KEYS, "assay", "assay-api")
    head = b64({"alg": "Ed25519", "typ": "at+jwt", "kid": KEYS.signing_kid})
    private: Any = KEYS.signing_key.private_key
    for signing in (f"{b64(value)}.{b64(claims())}", f"{head}.{b64(value)}"):
        token = f"{signing}.{b64(private.sign(signing.encode()))}"
        assert refused(tokens, token) is RefusalCode.UNAUTHENTICATED


def test_tokens_pushed_out_of_memory_are_verified_again(
    tokens: AccessTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.auth.REMEMBERED_TOKENS", 3)
    made = [tokens.issue_token(USER, UUID(int=number)) for number in range(10)]
    for _ in range(2):
        for number, token in enumerate(made):
            assert tokens.verify_token(token).organization_id == UUID(int=number)


def test_the_published_keys_verify_a_token_and_hold_no_private_part(tokens: AccessTokens) -> None:
    (public,) = KEYS.public_jwks()["keys"]
    assert set(public) == {"kty", "crv", "x", "kid", "use", "alg"}
    token = tokens.issue_token(USER, ORGANIZATION)
    decoded = jwt.decode(token, OKPKey.import_key(public), algorithms=["Ed25519"])
    assert decoded.claims["sub"] == str(USER)


def test_the_key_file_is_private_and_read_again(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "keys" / "signing.json"
    first = SigningKeys.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["signing.json"]
    second = SigningKeys.load_or_create(path)
    token = AccessTokens(first, "a", "b", clock=clock).issue_token(USER, ORGANIZATION)
    assert AccessTokens(second, "a", "b", clock=clock).verify_token(token).user_id == USER


def test_rotation_signs_with_the_first_key_and_verifies_with_all(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "signing.json"
    old = SigningKeys.load_or_create(path)
    before = AccessTokens(old, "a", "b", clock=clock).issue_token(USER, ORGANIZATION)
    new = SigningKeys.generate()
    retired = old.public_jwks()["keys"]
    path.write_text(json.dumps({"keys": new.private_jwks()["keys"] + retired}))
    both = SigningKeys.load_or_create(path)
    tokens = AccessTokens(both, "a", "b", clock=clock)
    assert both.signing_kid == new.signing_kid
    assert tokens.verify_token(before).user_id == USER
    assert tokens.verify_token(tokens.issue_token(USER, ORGANIZATION)).user_id == USER
    assert len(both.public_jwks()["keys"]) == 2
    without = AccessTokens(new, "a", "b", clock=clock)
    assert refused(without, before) is RefusalCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        '{"keys": [7]}',
        json.dumps({"keys": KEYS.public_jwks()["keys"]}),
        json.dumps({"keys": [OKPKey.generate_key("Ed448").as_dict(private=True)]}),
    ],
)
def test_a_file_that_is_no_key_set_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing.json"
    path.write_text(content)
    with pytest.raises(SigningKeyError) as caught:
        SigningKeys.load_or_create(path)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__context__ is None
    assert path.read_text() == content


def test_a_key_file_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    SigningKeys.load_or_create(path)
    path.chmod(0o666)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        SigningKeys.load_or_create(path)


def test_a_place_that_cannot_hold_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SigningKeyError, match=r"signing\.json"):
        SigningKeys.load_or_create(tmp_path / "file" / "signing.json")


LOAD = """
import sys
from pathlib import Path
from ops.signing_keys import SigningKeys
print("ready", flush=True)
sys.stdin.readline()
print(SigningKeys.load_or_create(Path(sys.argv[1])).signing_kid)
"""


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.json"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, str(path)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert not path.exists()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    kids = {process.communicate(timeout=20)[0].strip() for process in processes}
    assert kids == {SigningKeys.load(path).signing_kid}
    assert [file.name for file in path.parent.iterdir()] == ["signing.json"]


def test_the_loser_of_the_race_takes_the_winner_s_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signing.json"
    winner: list[SigningKeys] = []
    generate = SigningKeys.generate

    def after_another_process() -> SigningKeys:
        monkeypatch.setattr(SigningKeys, "generate", generate)
        winner.append(SigningKeys.load_or_create(path))
        return generate()

    monkeypatch.setattr(SigningKeys, "generate", after_another_process)
    assert SigningKeys.load_or_create(path).signing_kid == winner[0].signing_kid
    assert [file.name for file in tmp_path.iterdir()] == ["signing.json"]


def test_a_rotation_is_known_before_it_signs_and_old_keys_go(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "signing.json"
    SigningKeys.load_or_create(path)

    def read() -> SigningKeys:
        loaded = SigningKeys.load(path)
        loaded._clock = clock  # noqa: SLF001 - the test's clock
        return loaded

    keys = read()
    old = AccessTokens(keys, "assay", "a", clock=clock).issue_token(USER, ORGANIZATION)
    first = keys.signing_kid
    keys.rotated().save(path)
    keys = read()
    assert (keys.signing_kid, len(keys.public_jwks()["keys"])) == (first, 2)
    clock.now += 901
    second = keys.signing_kid
    assert second != first
    clock.now -= 2
    tokens = AccessTokens(keys, "assay", "a", clock=clock)
    assert tokens.verify_token(old).user_id == USER
    clock.now += 12 * 3600 + 2
    assert {k["kid"] for k in keys.rotated().public_jwks()["keys"]} >= {second}
    assert first not in {k["kid"] for k in keys.rotated().public_jwks()["keys"]}


def test_a_leaked_key_ends_every_token_in_processes_that_run(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    running = SigningKeys.load_or_create(path)
    tokens = AccessTokens(running, "assay", "a")
    token = tokens.issue_token(USER, ORGANIZATION)
    assert tokens.verify_token(token)
    SigningKeys.load(path).rotated(at_once=True).save(path)
    running._looked = 0  # noqa: SLF001 - a second later
    with pytest.raises(Refusal):
        tokens.verify_token(token)
    assert tokens.verify_token(tokens.issue_token(USER, ORGANIZATION))
    path.write_text("{}")
    running._looked = 0  # noqa: SLF001 - a second later
    assert tokens.verify_token(tokens.issue_token(USER, ORGANIZATION)), "a bad file is left aside"
