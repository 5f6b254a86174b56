import json
import sys
from uuid import UUID, uuid4

from graphql import *

from resolvers.global_ids import global_id
from tests.access.people import make_people
from tests.access.test_other_peoples_ids import SCHEMA, value_of

STR = [
    "",
    " ",
    "\u202eevil",
    "a" * 300_000,
    "e" + "\u0301" * 5000,
    "\ufffe\uffff",
    "😀" * 300,
    "'; DROP TABLE users;--",
    "%_\\",
    "x\r\n\x0b\x1b[0m",
    "\u200b",
    "İ@X.COM",
    "a@b.c" * 200,
    "https://[::1",
    "http://a:99999/",
    "*.a..b",
    "xn--",
    "a@" + "b-." * 80 + "c",
]
IDS = [
    "",
    "x",
    "\u202e",
    "====",
    "A" * 100_000,
    global_id("Organization", UUID(int=0)),
    global_id("User", UUID(int=0)),
    global_id("", UUID(int=0)),
    "VXNlcjo=",
    "é",
    global_id("Course", uuid4()) + "=",
    "RoleGrant:1",
]
INT = [-1, 0, 2**31 - 1, -(2**31)]
FLT = [-1.0, 1e308, -0.0, 1e-320]
DEC = [
    "-1",
    "NaN",
    "Infinity",
    "1e400",
    "0.0001",
    "1e-400",
    "99999999999",
    "-0",
    "1" * 5000,
    "٣",
    "1_0",
]
DT = [
    "0001-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59.999999-23:59",
    "2030-01-01T00:00:00",
    "1970-01-01T00:00:00Z",
    "2199-12-31T23:59:59-23:59",
    "2000-01-01T00:00:00+23:59",
    "x",
    "2030-02-30T00:00:00Z",
]


def leaves(t, name):
    n = get_nullable_type(t)
    if isinstance(n, GraphQLList):
        yield ([], "list", n)
        for p, k, x in leaves(n.of_type, name):
            yield [0] + p, k, x
    elif isinstance(n, GraphQLInputObjectType):
        for k, f in n.fields.items():
            for p, kk, x in leaves(f.type, k):
                yield [k] + p, kk, x
    elif isinstance(n, GraphQLEnumType):
        return
    else:
        yield [], n.name, name


def full(t, name, ids, depth=0):
    n = get_nullable_type(t)
    if isinstance(n, GraphQLList):
        return [full(n.of_type, name, ids, depth + 1)]
    if isinstance(n, GraphQLInputObjectType):
        out = {}
        for k, f in n.fields.items():
            if k in ("idempotencyKey", "observedStudentId", "customRoleId", "userIds"):
                continue
            out[k] = full(f.type, k, ids, depth + 1)
        return out
    return value_of(t, name, ids)


def put(base, path, val):
    b = json.loads(json.dumps(base))
    c = b
    for p in path[:-1]:
        if isinstance(c, list):
            if not c:
                return None
            c = c[p]
        else:
            if p not in c:
                c[p] = [None] if False else None
            c = c[p]
            if c is None:
                return None
    if not path:
        return None
    if isinstance(c, list):
        if not c:
            return None
    c[path[-1]] = val
    return b


async def test_hostile(world):
    people = await make_people(world)
    known = {name.partition(" ")[0]: key for name, key in people.objects.items()}
    bad = {}
    n = 0
    from collections import Counter

    codes = Counter()
    for who in ("instructor", "admin"):
        client = people.clients[who]
        for name, field in SCHEMA.mutation_type.fields.items():
            if who == "owner" and name not in (
                "askQuestion",
                "editQuestion",
                "regenerateMessage",
                "selectBranch",
                "rememberFact",
                "updateMemoryFact",
                "shareStudySession",
                "updateStudySession",
                "createStudySession",
                "submitAttempt",
                "acceptInvitation",
                "createUpload",
                "exportPersonalData",
                "signOutEverywhere",
                "createApiToken",
            ):
                continue
            t = field.args["input"].type
            doc = f"mutation($input: {get_named_type(t).name}!) {{ {name}(input: $input) {{ __typename userErrors {{ code message path }} }} }}"
            base = full(t, "", known)
            for path, kind, x in leaves(t, ""):
                vals = {
                    "String": STR,
                    "ID": IDS + list(known.values())[:6],
                    "Int": INT,
                    "Float": FLT,
                    "Decimal": DEC,
                    "DateTime": DT,
                    "Boolean": [None],
                    "Upload": [1, {}, "x", []],
                    "JSON": [{"a": 1}],
                }.get(kind)
                if kind == "list":
                    inner = full(x.of_type, path[-1] if path else "", known)
                    vals = [[], [inner] * 3, [inner] * 101]
                if vals is None:
                    print("KIND", kind)
                    continue
                for v in vals:
                    b = put(base, path, v)
                    if b is None:
                        continue
                    n += 1
                    try:
                        a = await client.raw(doc, {"input": b})
                    except Exception as e:
                        a = {"exc": repr(e)}
                    s = json.dumps(a)
                    codes.update(__import__("re").findall(r"\"code\": \"(\w+)\"", s) or ["DONE"])
                    if "INTERNAL" in s or "exc" in a or "TIMEOUT" in s:
                        bad.setdefault((name, ".".join(map(str, path))), []).append(
                            (who, repr(v)[:80], s[:200])
                        )
            if who != "owner" and name in ("suspendUser", "erasePersonalData"):
                pass
    open("/tmp/attack4/codes.txt", "w").write(f"{n} {codes} {bad}")
    for k, v in bad.items():
        sys.stderr.write(f"BAD {k} {len(v)} {v[:3]}\n")
    assert not bad
