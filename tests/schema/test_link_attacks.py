"""Addresses of files in hostile hands: forged, bent, kept too long; and what the files may do."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey
from sqlalchemy import text

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.file_links import ORIGINAL, SignedLinks
from ops.signing_keys import SigningKeys
from resolvers.global_ids import parse_global_id
from resolvers.refusals import Refusal
from tests.access.people import _foreign_admin
from tests.schema.test_original_links import DELETE, ROUTING, link, ready
from tests.schema.test_uploads import TUS
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

CREATE_KEY = """mutation($input: CreateApiTokenInput!) { createApiToken(input: $input) {
  apiToken { id secret } userErrors { code message } } }"""
REVOKE_KEY = """mutation($input: RevokeApiTokenInput!) { revokeApiToken(input: $input) {
  apiToken { id } userErrors { code } } }"""
ERASE = """mutation($input: ErasePersonalDataInput!) { erasePersonalData(input: $input) {
  user { id } userErrors { code } } }"""
IMPERSONATE = """mutation($input: ImpersonateUserInput!) { impersonateUser(input: $input) {
  impersonation { accessToken } userErrors { code message } } }"""
BREAK_GLASS = """mutation($input: BreakGlassInput!) { breakGlass(input: $input) {
  breakGlass { id } userErrors { code message } } }"""
LINKS = SignedLinks(SigningKeys.generate(), "")


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def code(world: World, url: str) -> tuple[int, str]:
    """Status and code of a refusal, which has the shape of the API's errors."""
    answer = await world.http.get(url)
    (error,) = answer.json()["errors"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, error["extensions"]["code"]


async def test_no_address_can_be_made_up(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    document = await ready(instructor, world)
    url = await link(instructor, document)
    token = url.rpartition("/")[2]
    head, claims, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    key = world.resources.keys.signing_key
    header = {"alg": "EdDSA", "typ": ORIGINAL, "kid": key.kid}
    by_secret = OctKey.import_key(json.dumps(key.as_dict(private=False)).encode())
    other = said | {"sub": str(parse_global_id(document)[1])[::-1]}
    later = said | {"exp": said["exp"] + 9_999}
    foreign = said | {"org": str(await world.user_id(ADMIN)), "usr": said["org"]}
    forged = [
        f"{head}.{part(changed)}.{signature}" for changed in (other, later, foreign, [], 5, {})
    ]
    forged += [f"{part(header | {'alg': a})}.{claims}." for a in ("none", "None", "", "HS256")]
    forged.append(jwt.encode({"alg": "HS256", "typ": ORIGINAL, "kid": key.kid}, said, by_secret))
    forged += [
        f"{part(h)}.{claims}.{signature}" for h in (5, [], "x", None, {}, {"kid": 5}, b"\xff")
    ]
    forged += [f"{part({'alg': 'dir', 'enc': 'A256GCM', 'zip': 'DEF'})}.a.b.c.d", "a.b.c.d.e"]
    forged += [token[:-1], token + "A", "." * 5, "%00", "%ff%fe", "a" * 9_000, f"{token}.x"]
    forged.append(f"{part({**header, 'crit': ['exp'], 'exp': 1})}.{claims}.{signature}")
    forged.append(await world.token(INSTRUCTOR))
    for made_up in forged:
        assert await code(world, f"/originals/{made_up}") == (403, "FORBIDDEN"), made_up
        answer = await world.http.head(f"/uploads/{made_up}", headers=TUS)
        assert answer.status_code == 403, made_up
    for path in (f"{url}/x", f"/originals/x/{token}", f"/original/{token}", "/originals/"):
        assert (await world.http.get(path)).status_code == 404
    assert (await world.http.get(f"{url}?document=other#x")).content == ROUTING
    assert (await world.http.post(url)).status_code == 405


@given(st.one_of(st.text(max_size=80), st.lists(st.binary(max_size=30), min_size=1, max_size=6)))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_no_address_is_refused_and_breaks_nothing(made: str | list[bytes]) -> None:
    token = made if isinstance(made, str) else ".".join(map(part, made))
    for read in (LINKS.original_of, LINKS.upload_of):
        with pytest.raises(Refusal):
            read(token)


@given(
    st.dictionaries(
        st.sampled_from(["alg", "typ", "kid", "crit", "b64", "enc", "zip", "jwk"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=9), st.just([])),
    )
)
def test_no_header_of_an_address_breaks_anything(header: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        LINKS.original_of(f"{part(header)}.{part({'sub': 'x'})}.{part(b'x' * 64)}")


async def test_an_address_is_of_its_person_and_organization(world: World) -> None:
    """Signed by our own key, for people who may not read the document: nobody is told of it."""
    instructor = await world.client(INSTRUCTOR)
    document = await ready(instructor, world)
    foreign = await _foreign_admin(world)
    viewer = (await foreign.ask("{ viewer { user { id } organization { id } } }"))["viewer"]
    _, stranger = parse_global_id(viewer["user"]["id"])
    _, elsewhere = parse_global_id(viewer["organization"]["id"])
    mine = await instructor.ask("{ viewer { organization { id } } }")
    _, here = parse_global_id(mine["viewer"]["organization"]["id"])
    _, key = parse_global_id(document)
    admin = await world.user_id(ADMIN)
    missing = parse_global_id(world.course_id)[1]
    answers = set()
    for user, organization in ((stranger, elsewhere), (admin, here)):
        for asked in (key, missing):
            answers.add(await code(world, made_for(world, user, organization, asked)))
    assert answers == {(404, "NOT_FOUND")}
    for user, organization in ((stranger, here), (admin, elsewhere)):
        url = made_for(world, user, organization, key)
        assert await code(world, url) == (403, "FORBIDDEN")


def made_for(world: World, user: Any, organization: Any, document: Any) -> str:
    claims = {"sub": str(document), "usr": str(user), "org": str(organization)}
    now = int(datetime.now(UTC).timestamp())
    claims |= {"iat": now, "exp": now + 60}  # type: ignore[dict-item]
    return f"/originals/{world.resources.links._signed(ORIGINAL, claims)}"  # noqa: SLF001


async def execute(world: World, statement: str) -> None:
    async with world.resources.database.transaction() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("ending", ["suspended", "erased", "revoked", "deleted", "signed out"])
async def test_an_address_ends_with_what_it_came_from(world: World, ending: str) -> None:
    instructor, student = await world.client(INSTRUCTOR), await world.client(STUDENTS[0])
    document = await ready(instructor, world)
    url = await link(student, document)
    assert (await world.http.get(url)).status_code == 200
    person = (await student.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    if ending == "suspended":
        await execute(world, "UPDATE users SET suspended = true WHERE email LIKE 'ann@%'")
    elif ending == "erased":
        admin = await world.client(ADMIN)
        await admin.change(ERASE, userId=person, reason="Asked for it")
    elif ending == "revoked":
        await execute(world, "UPDATE enrollment SET state = 'REMOVED'")
    elif ending == "deleted":
        await instructor.change(DELETE, documentId=document)
    else:
        await execute(world, "UPDATE users SET signed_out_at = now() + interval '1 second'")
    assert (await code(world, url))[0] in {403, 404}
    ranged = await world.http.get(url, headers={"Range": "bytes=0-0", "If-None-Match": "*"})
    assert ranged.status_code in {403, 404}


async def test_an_address_made_by_an_api_token_ends_with_the_token(world: World) -> None:
    """And reaches no further than it: a token of one course makes no address of another's."""
    instructor = await world.client(INSTRUCTOR)
    document = await ready(instructor, world)
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    values = {"name": "LMS", "scopes": ["DOCUMENT_READ"], "expiresAt": expires}
    made = await instructor.change(CREATE_KEY, **values, courseId=world.course_id)
    service = Client(world.http, made["secret"])
    url = await link(service, document)
    assert (await world.http.get(url)).content == ROUTING
    await instructor.change(REVOKE_KEY, apiTokenId=made["id"])
    assert await code(world, url) == (403, "FORBIDDEN")


async def test_an_address_of_who_acts_as_another_ends_with_their_role(world: World) -> None:
    instructor, admin = await world.client(INSTRUCTOR), await world.client(ADMIN)
    document = await ready(instructor, world)
    person = (await instructor.ask("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    made = await admin.change(IMPERSONATE, userId=person, reason="A complaint")
    acting = Client(world.http, made["accessToken"])
    url = await link(acting, document)
    assert (await world.http.get(url)).status_code == 200
    await execute(world, "UPDATE role_grant SET state = 'REVOKED' WHERE role = 'ADMIN'")
    assert await code(world, url) == (403, "FORBIDDEN")


async def test_an_address_made_by_break_glass_ends_with_it(world: World) -> None:
    instructor, admin = await world.client(INSTRUCTOR), await world.client(ADMIN)
    document = await ready(instructor, world)
    await admin.change(BREAK_GLASS, courseId=world.course_id, reason="A complaint", minutes=5)
    url = await link(admin, document)
    assert (await world.http.get(url)).status_code == 200
    await execute(
        world, "UPDATE break_glass SET expires_at = created_at + interval '1 microsecond'"
    )
    assert await code(world, url) == (404, "NOT_FOUND")


async def test_odd_ranges_and_conditions(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    url = await link(instructor, await ready(instructor, world))
    size, whole = len(ROUTING), ROUTING

    async def get(**headers: str) -> httpx.Response:
        sent = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
        return await world.http.get(url, headers=sent)

    for asked in (
        "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes 0-1",
        "bytes=--1", "bytes=0x1-2", f"bytes=0-{'9' * 40}", "bytes=1-2-3", "\xb2", "bytes=\xb2-",
    ):  # fmt: skip
        answer = await get(Range=asked)
        assert (answer.status_code, answer.content) == (200, whole), asked
    for asked in (f"bytes={size}-", "bytes=-0", f"bytes={'9' * 18}-"):
        assert (await get(Range=asked)).status_code == 416, asked
    etag = (await get()).headers["etag"]
    for condition in ("*", etag, f"W/{etag}", f'"a", {etag}', f'"a" ,W/{etag},"b"'):
        answer = await get(If_None_Match=condition)
        assert (answer.status_code, answer.content) == (304, b""), condition
    for condition in ('"a"', etag.strip('"'), "", "W/"):
        assert (await get(If_None_Match=condition)).status_code == 200, condition
    for condition, status in (
        (etag, 206),
        (f"W/{etag}", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ):
        assert (await get(Range="bytes=0-1", If_Range=condition)).status_code == status
    head = await world.http.head(url, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(size))


NAMES = {
    'a"b;filename=evil.exe.md': None,
    "käse 🙂 \u05d0\u05d1.md": None,
    "../../etc/pass\u202ewd.md": "passwd.md",
    "C:\\x\\notes.md": "notes.md",
    "a\u2028b\u0085c.md": "a\u2028bc.md",
    "%0d%0aSet-Cookie: a=b.md": None,
    "x" * 300 + ".md": "x" * 197 + ".md",
    "e\u0301.md": "\u00e9.md",
}


async def test_no_name_of_a_file_gets_into_a_header(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    for number, (name, kept) in enumerate(NAMES.items()):
        values = {"courseId": world.course_id, "fileName": name, "byteSize": 9}
        create = """mutation($input: CreateUploadInput!) { createUpload(input: $input) {
          upload { id url } userErrors { code message } } }"""
        add = """mutation($input: AddDocumentInput!) { addDocument(input: $input) {
          document { id fileName originalUrl } userErrors { code message } } }"""
        upload = await instructor.change(create, **values)
        headers = TUS | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        await world.http.patch(upload["url"], content=b"# Text %02d" % number, headers=headers)
        document = await instructor.change(add, uploadId=upload["id"])
        expected = name if kept is None else kept
        assert document["fileName"] == expected
        answer = await world.http.get(document["originalUrl"])
        ((_, disposition),) = [
            (k, v) for k, v in answer.headers.multi_items() if k == "content-disposition"
        ]
        kind, _, shown = disposition.partition("; filename*=UTF-8''")
        assert (kind, unquote(shown)) == ("attachment", expected)
        assert shown.isascii()
        assert not set(shown) & set('";\r\n ')
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", b"<!doctype html><script>alert(document.cookie)</script><p>Packets."),
        ("page.xhtml", b"<html xmlns='http://www.w3.org/1999/xhtml'><script>1</script>Packets"),
        ("drawing.xml", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"),
        ("module.js", b"fetch('/graphql', {method: 'POST'}) // packets"),
        ("style.css", b"body { background: url(//evil.example) } /* packets */"),
    ],
)
async def test_an_original_never_runs_as_a_page_of_ours(
    world: World, name: str, content: bytes
) -> None:
    instructor = await world.client(INSTRUCTOR)
    for declared in ("text/html", "image/svg+xml", "text/html\r\nX-Evil: 1; charset=utf-7"):
        file = (name, content + declared.encode(), declared.replace("\r\n", " "))
        made = await instructor.upload(gql.UPLOAD, file, courseId=world.course_id)
        answer = await world.http.get(await link(instructor, made["id"]))
        assert answer.status_code == 200
        headers = answer.headers
        assert headers["content-type"].partition(";")[0] in {"text/html", "text/x-source"}
        assert headers["content-disposition"].startswith("attachment;")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert headers["referrer-policy"] == "no-referrer"
        assert "x-evil" not in headers
