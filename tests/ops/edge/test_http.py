"""GraphQL over HTTP, against a real server."""

import asyncio

import httpx
import orjson
import pytest
from graphql import build_client_schema, get_introspection_query

from tests.ops.edge.conftest import Serve, Served

RESPONSE = "application/graphql-response+json"
JSON = "application/json"


def code(response: httpx.Response) -> str:
    found: str = response.json()["errors"][0]["extensions"]["code"]
    return found


async def send(
    edge: Served, body: bytes, content_type: str = JSON, accept: str = JSON
) -> httpx.Response:
    headers = {"content-type": content_type, "accept": accept, "authorization": "Bearer ada"}
    return await edge.client.post("/graphql", content=body, headers=headers)


async def test_a_query(edge: Served) -> None:
    response = await edge.post("{hello}")
    assert (response.status_code, response.json()) == (200, {"data": {"hello": "world"}})
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"


async def test_variables_reach_resolvers_as_plain_values(edge: Served) -> None:
    response = await edge.post("query($x:Int!){variable(x:$x)}", {"x": 7})
    assert response.json() == {"data": {"variable": 7}}


async def test_a_mutation(edge: Served) -> None:
    text = "mutation($input:SaveInput!){save(input:$input)}"
    response = await edge.post(text, {"input": {"text": "é🙂"}})
    assert response.json() == {"data": {"save": "é🙂"}}
    assert edge.world.saved == ["é🙂"]


async def test_each_operation_has_a_context_of_its_own(edge: Served) -> None:
    await edge.post("query A{hello}", extensions={"trace": 1})
    await edge.post('mutation B{save(input:{text:"x"})}')
    facts = [context.facts for context in edge.world.contexts]
    assert [(each.name, each.kind, each.cost) for each in facts] == [
        ("A", "query", 1),
        ("B", "mutation", 10),
    ]
    assert facts[0].extensions == {"trace": 1}
    assert facts[0].correlation_id != facts[1].correlation_id


@pytest.mark.parametrize(("given", "kept"), [("abcdef-123456", True), ("short", False)])
async def test_the_correlation_id_of_the_caller_is_kept_when_it_is_one(
    edge: Served, given: str, kept: bool
) -> None:
    response = await edge.client.post(
        "/graphql", json={"query": "{correlation}"}, headers={"x-correlation-id": given}
    )
    used = response.json()["data"]["correlation"]
    assert (used == given) is kept
    assert response.headers["x-correlation-id"] == used


async def test_the_introspection_query_passes_the_limits(edge: Served) -> None:
    query = get_introspection_query(
        specified_by_url=True, input_value_deprecation=True, schema_description=True
    )
    response = await edge.post(query, operationName="IntrospectionQuery")
    assert build_client_schema(response.json()["data"]).query_type is not None


MALFORMED = {
    "nothing": b"",
    "null": b"null",
    "a number": b"5",
    "a string": b'"x"',
    "a batch": b'[{"query":"{hello}"}]',
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep variables": b'{"query":"{hello}","variables":{"a":' + b"[" * 900 + b"]" * 900 + b"}}",
    "invalid UTF-8": b'{"query":"{hello}\xff"}',
    "an endless integer": b'{"query":"{hello}","variables":{"x":' + b"9" * 5_000 + b"}}",
    "a lone surrogate": b'{"query":"{hello}","variables":{"x":"\\ud800"}}',
    "a NUL in a variable": b'{"query":"{hello}","variables":{"x":["\\u0000"]}}',
    "a NUL in a key": b'{"query":"{hello}","variables":{"\\u0000":1}}',
    "not a number": b'{"query":"{hello}","variables":{"x":NaN}}',
    "no query": b"{}",
    "an empty query": b'{"query":" "}',
    "a query of another type": b'{"query":{"a":1}}',
    "variables of another type": b'{"query":"{hello}","variables":[1]}',
    "a name of another type": b'{"query":"{hello}","operationName":5}',
    "extensions of another type": b'{"query":"{hello}","extensions":"x"}',
    "cut JSON": b'{"query":"{hello}"',
}


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_a_typed_400(edge: Served, body: bytes, accept: str) -> None:
    response = await send(edge, body, accept=accept)
    assert response.status_code == 400
    assert code(response) in {"BAD_INPUT", "LIMIT_EXCEEDED"}
    assert edge.world.reports == []


BAD_DOCUMENTS = {
    "syntax": ("{hello", "INVALID_DOCUMENT"),
    "unknown field": ("{missing}", "INVALID_DOCUMENT"),
    "fragment cycle": ("{...a} fragment a on Query{...a}", "INVALID_DOCUMENT"),
    "deep nesting": ("{a" * 900 + "}" * 900, "INVALID_DOCUMENT"),
    "deep list": ("{number(x:" + "[" * 900 + "]" * 900 + ")}", "INVALID_DOCUMENT"),
    "endless integer": ("{number(x:" + "9" * 5_000 + ")}", "BAD_INPUT"),
    "endless float": ("{number(ratio:1e" + "9" * 5_000 + ")}", "BAD_INPUT"),
    "NUL": (r'{echo(text:"\u0000")}', "BAD_INPUT"),
    "NUL in braces": (r'{echo(text:"\u{000}")}', "BAD_INPUT"),
    "raw NUL": ("{hello} #\0", "BAD_INPUT"),
    "lone surrogate": (r'{echo(text:"\uD800")}', "BAD_INPUT"),
    "tokens": ("{" + "hello " * 2_000 + "}", "LIMIT_EXCEEDED"),
    "no operation": ("fragment f on Query{hello}", "BAD_INPUT"),
    "schema language": ("type Query{a:Int}", "BAD_INPUT"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS.keys())
async def test_a_bad_document_is_typed(edge: Served, text: str, expected: str) -> None:
    response = await edge.post(text, accept=RESPONSE)
    assert (response.status_code, code(response)) == (400, expected)
    assert all(len(each["message"]) <= 500 for each in response.json()["errors"])
    assert edge.world.reports == []


BAD_VARIABLES = {
    "another type": ("query($x:Int){number(x:$x)}", {"x": "five"}),
    "missing": ("query($x:Int!){variable(x:$x)}", {}),
    "null for an argument that must not be": (
        "query($x:Int){number(required:$x)}",
        {"x": None},
    ),
    "unknown input field": (
        "mutation($i:SaveInput!){save(input:$i)}",
        {"i": {"text": "x", "admin": True}},
    ),
    "beyond 32 bits": ("query($x:Int){number(x:$x)}", {"x": 2**40}),
    "a file that is none": ("mutation($f:[Upload!]!){upload(files:$f){name}}", {"f": ["x"]}),
    "a parser that breaks": ("query($v:Strange!){strange(value:$v)}", {"v": "x"}),
}


@pytest.mark.parametrize(("text", "variables"), BAD_VARIABLES.values(), ids=BAD_VARIABLES.keys())
async def test_bad_variables_are_typed(
    edge: Served, text: str, variables: dict[str, object]
) -> None:
    response = await edge.post(text, variables)
    assert code(response) == "BAD_INPUT"
    assert "secret" not in response.text
    assert edge.world.reports == []


async def test_status_follows_the_media_type(edge: Served) -> None:
    for text in ("{hello", "{missing}", "{" + " hello" * 21 + "}"):
        assert (await edge.post(text, accept=JSON)).status_code == 200
        assert (await edge.post(text, accept=RESPONSE)).status_code == 400
    partial = await edge.post("{hello failing}", accept=RESPONSE)
    assert partial.status_code == 200
    assert partial.headers["content-type"] == f"{RESPONSE}; charset=utf-8"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin-1"],
)
async def test_a_content_type_a_form_can_send_is_refused(edge: Served, content_type: str) -> None:
    response = await send(edge, b'{"query":"{hello}"}', content_type)
    assert (response.status_code, code(response)) == (415, "BAD_INPUT")


async def test_what_cannot_be_accepted_is_406(edge: Served) -> None:
    assert (await edge.post("{hello}", accept="image/png")).status_code == 406
    subscription = await edge.post("subscription{counter(to:1)}", accept=JSON)
    assert (subscription.status_code, code(subscription)) == (406, "BAD_INPUT")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_a_typed_405(edge: Served, method: str) -> None:
    response = await edge.client.request(method, "/graphql?query={hello}")
    assert (response.status_code, code(response)) == (405, "BAD_INPUT")
    assert response.headers["allow"] == "POST"


async def test_a_browser_gets_the_page(edge: Served) -> None:
    response = await edge.client.get("/graphql", headers={"accept": "text/html,*/*"})
    assert "explorer" in response.text


@pytest.mark.parametrize("declared", [True, False], ids=["with a length", "chunked"])
async def test_a_body_beyond_the_limit_is_413(edge: Served, declared: bool) -> None:
    body = b'{"query":"' + b" " * (1024 * 1024) + b'{hello}"}'

    async def chunks():  # type: ignore[no-untyped-def]  # a stream of bytes without a length
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    response = await edge.client.post(
        "/graphql",
        content=body if declared else chunks(),
        headers={"content-type": JSON},
    )
    assert (response.status_code, code(response)) == (413, "TOO_LARGE")
    assert response.json()["errors"][0]["extensions"]["limit"] == "body_bytes"
    assert (await edge.post("{hello}")).status_code == 200


async def test_a_refusal_is_told_and_anything_else_is_masked(edge: Served) -> None:
    response = await edge.post("{refused failing rawGraphqlError}")
    errors = {error["path"][0]: error for error in response.json()["errors"]}
    refused = errors.pop("refused")
    masked = list(errors.values())
    assert refused["message"] == "There is no such course."
    assert refused["extensions"] == {"code": "NOT_FOUND", "path": ["courseId"]}
    ids = {error["extensions"]["id"] for error in masked}
    assert len(masked) == 2
    assert ids == {response.headers["x-correlation-id"]}
    assert all(next(iter(ids)) in error["message"] for error in masked)
    assert "secret" not in response.text
    assert sorted(text for text, _ in edge.world.reports) == [
        "secret of a library",
        "secret of a resolver",
    ]
    assert {error_id for _, error_id in edge.world.reports} == ids


@pytest.mark.parametrize("field", ["requiredNull", "surrogate"])
async def test_a_value_that_cannot_be_sent_is_masked(edge: Served, field: str) -> None:
    response = await edge.post("{" + field + "}")
    assert code(response) == "INTERNAL"
    assert len(edge.world.reports) == 1


async def test_no_more_errors_than_the_limit_but_all_are_reported(edge: Served) -> None:
    body = (await edge.post("{many{value}}")).json()
    assert len(body["errors"]) == 5
    assert body["extensions"] == {"errorsOmitted": 4}
    assert len(body["data"]["many"]) == 9
    assert len(edge.world.reports) == 9


@pytest.mark.parametrize(
    ("token", "status", "expected"),
    [("expired", 401, "TOKEN_EXPIRED"), ("down", 503, "UNAVAILABLE"), ("crash", 500, "INTERNAL")],
)
async def test_authentication_decides_the_status(
    edge: Served, token: str, status: int, expected: str
) -> None:
    response = await edge.post("{hello}", caller=token)
    assert (response.status_code, code(response)) == (status, expected)
    assert ("www-authenticate" in response.headers) is (status == 401)
    assert "secret" not in response.text


async def test_a_rate_limit_says_when_to_come_back(edge: Served) -> None:
    response = await edge.post("{hello}", caller="throttled")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.json()["errors"][0]["extensions"] == {
        "code": "LIMIT_EXCEEDED",
        "limit": "requests",
        "value": 60,
        "retryAfter": 2,
    }


async def test_credentials_reach_authentication(edge: Served) -> None:
    await edge.post("{hello}", caller="ada")
    (credentials,) = edge.world.credentials
    assert credentials.authorization == "Bearer ada"
    assert credentials.connection_params is None
    assert credentials.client_ip == "127.0.0.1"


async def test_a_long_list_of_ids_is_refused_wherever_it_is(edge: Served) -> None:
    many = [str(number) for number in range(101)]
    direct = await edge.post("query($i:[ID!]!){people(ids:$i)}", {"i": many})
    nested = await edge.post(
        "mutation($i:SaveInput!){save(input:$i)}", {"i": {"text": "x", "ids": many}}
    )
    for response in (direct, nested):
        assert response.json()["errors"][0]["extensions"]["limit"] == "ids"
    assert edge.world.saved == []
    assert (await edge.post("query($i:[ID!]!){people(ids:$i)}", {"i": many[1:]})).json() == {
        "data": {"people": 100}
    }


async def test_the_exponential_fragments_are_refused_and_the_server_lives(edge: Served) -> None:
    fragments = " ".join(
        f"fragment f{n} on Person{{friend{{...f{n + 1} ...f{n + 1}}}}}" for n in range(15)
    )
    text = f"{{person{{...f0}}}} {fragments} fragment f15 on Person{{name}}"
    assert len(text) < 800
    names = {each["extensions"]["limit"] for each in (await edge.post(text)).json()["errors"]}
    assert names == {"depth", "cost"}


async def test_a_timeout_is_typed(serve: Serve) -> None:
    async with serve(operation_seconds=0.1) as edge:
        response = await edge.post("{slow(seconds:30)}", accept=RESPONSE)
        assert (response.status_code, code(response)) == (504, "TIMEOUT")
        assert edge.world.cancelled.is_set()
        assert (await edge.post("{slow(seconds:30)}")).status_code == 200


async def leave(edge: Served, query: str) -> None:
    """Send a request and hang up as soon as its resolver has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    body = orjson.dumps({"query": query})
    head = (
        "POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await asyncio.wait_for(edge.world.started.wait(), 5)
    writer.close()
    await writer.wait_closed()
    assert reader is not None


async def test_a_client_that_leaves_cancels_its_query(edge: Served) -> None:
    await leave(edge, "{slow(seconds:30)}")
    await asyncio.wait_for(edge.world.cancelled.wait(), 5)


async def test_a_client_that_leaves_does_not_cancel_its_mutation(edge: Served) -> None:
    await leave(edge, 'mutation{save(input:{text:"kept",seconds:0.2})}')
    assert edge.world.saved == []
    for _ in range(100):
        if edge.world.saved:
            break
        await asyncio.sleep(0.02)
    assert edge.world.saved == ["kept"]


async def test_the_answer_is_json_even_when_the_client_wants_events_only(edge: Served) -> None:
    response = await edge.post("{missing}", accept="text/event-stream")
    assert response.status_code == 400
    assert response.json()["errors"]
