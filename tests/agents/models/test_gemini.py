"""google-genai itself, against a server that speaks its protocol and misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema
from PIL import Image as Pixels
from pydantic import BaseModel, Field

from agents.models.failures import FailureKind, ModelFailure
from agents.models.gemini import GeminiClient
from agents.models.provider_client import CallOptions, http_client
from tests.agents.models.gemini_server import (
    KEY,
    SIGNATURE,
    body,
    endless,
    fails,
    gemini_server,
    parts,
    says,
    stream_of,
    whole,
)
from tests.agents.models.protocol_server import Behaviour, ProtocolServer, silent, slow

ASKED = [SystemMessage(content="Be brief."), UserMessage(content="Hi", source="ann")]
TOOL = ToolSchema(
    name="search",
    description="Searches the material.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}},
)
CALL = {
    "functionCall": {"id": "c1", "name": "search", "args": {"query": "ttl"}},
    "thoughtSignature": SIGNATURE,
}


class Note(BaseModel):
    """What is asked for."""

    text: str = Field(max_length=100)
    marks: list[int] = Field(default_factory=list)


@pytest.fixture
async def server() -> AsyncIterator[ProtocolServer]:
    async with gemini_server().running() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with http_client(CallOptions(idle_seconds=5), 1_000) as client:
        yield client


@pytest.fixture
async def make(
    server: ProtocolServer, http: httpx2.AsyncClient
) -> AsyncIterator[Callable[..., GeminiClient]]:
    made: list[GeminiClient] = []

    def client(model: str = "gemini-3-flash", key: str = KEY, idle: float = 5) -> GeminiClient:
        options = CallOptions(idle_seconds=idle)
        made.append(
            GeminiClient(model, api_key=key, http=http, options=options, base_url=server.address)
        )
        return made[-1]

    yield client
    for one in made:
        await one.close()


async def streamed(client: GeminiClient, **options) -> list[str | CreateResult]:
    return [item async for item in client.create_stream(ASKED, **options)]


async def test_answer_and_its_tokens(make, server):
    result = await make().create(ASKED)
    assert (result.content, result.finish_reason) == ("Hello there.", "stop")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (11, 7)
    assert result.usage.cached_tokens == 4
    sent = server.requests[0].body
    assert sent["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    assert sent["generationConfig"]["maxOutputTokens"] == 8_192
    assert "ann" not in str(sent)


async def test_stream_is_the_text_and_then_the_whole(make):
    *pieces, result = await streamed(make())
    assert len(pieces) == 4
    assert "".join(pieces) == result.content == "Hello there."
    assert result.usage.completion_tokens == 7


async def test_structured_output_has_a_schema_of_known_keywords_in_order(make, server):
    server.then(says('{"text": "a"}'))
    await make().create(ASKED, json_output=Note)
    config = server.requests[0].body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    schema = config["responseJsonSchema"]
    assert schema["propertyOrdering"] == schema["required"] == ["text", "marks"]
    assert schema["properties"]["text"] == {"type": "string"}


async def test_gemini_2_is_not_asked_for_tools_and_a_json_type(make, server):
    server.then(says('{"text": "a"}'))
    result = await make("gemini-2.5-flash").create(ASKED, tools=[TOOL], json_output=Note)
    assert result.content == '{"text": "a"}'
    sent = server.requests[0].body
    assert "responseMimeType" not in sent["generationConfig"]
    assert '"marks"' in sent["systemInstruction"]["parts"][0]["text"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_is_replayed_with_its_signature(make, server, stream):
    client = make()
    server.then(parts({"text": "Thinking", "thought": True}, CALL), says("64."))
    if stream:
        *_, result = [item async for item in client.create_stream(ASKED, tools=[TOOL])]
    else:
        result = await client.create(ASKED, tools=[TOOL])
    (call,) = result.content
    assert (call.name, call.arguments) == ("search", '{"query":"ttl"}')
    assert (result.finish_reason, result.thought) == ("function_calls", "Thinking")
    # as they come back from the rows they were stored in
    asked = AssistantMessage.model_validate_json(
        AssistantMessage(content=[call], source="tutor").model_dump_json()
    )
    found = FunctionExecutionResult(content="64", name="search", call_id=call.id, is_error=False)
    result = await client.create(
        [*ASKED, asked, FunctionExecutionResultMessage(content=[found])], tools=[TOOL]
    )
    assert result.content == "64."
    replayed = server.requests[1].body["contents"]
    assert replayed[1] == {"role": "model", "parts": [CALL]}
    assert replayed[2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "search", "response": {"output": "64"}}}
    ]


async def test_a_tool_call_without_signature_is_refused(make):
    unsigned = AssistantMessage(
        content=[FunctionCall(id="c1", name="search", arguments="{}")], source="tutor"
    )
    with pytest.raises(ModelFailure) as caught:
        await make().create([*ASKED, unsigned], tools=[TOOL])
    assert (caught.value.kind, caught.value.retryable) == (FailureKind.INVALID, False)


async def test_an_image_is_sent(make, server):
    image = Image.from_pil(Pixels.new("RGB", (2, 2)))
    await make().create([UserMessage(content=["What is it?", image], source="ann")])
    text, picture = server.requests[0].body["contents"][0]["parts"]
    assert text == {"text": "What is it?"}
    assert "image/png" in picture["inlineData"].values()


REFUSED = [
    (fails(429, "RESOURCE_EXHAUSTED", delay="1.5s"), FailureKind.RATE_LIMITED, 1.5),
    (fails(429, "RESOURCE_EXHAUSTED", retry_after="7"), FailureKind.RATE_LIMITED, 7.0),
    (fails(503, "UNAVAILABLE"), FailureKind.UNAVAILABLE, None),
    (fails(401, "UNAUTHENTICATED"), FailureKind.UNAUTHORIZED, None),
    (fails(400, "INVALID_ARGUMENT"), FailureKind.INVALID, None),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("behaviour", "kind", "asked"), REFUSED)
async def test_refusals_are_typed_and_quote_nothing(make, server, stream, behaviour, kind, asked):
    server.then(behaviour)
    client = make()
    with pytest.raises(ModelFailure) as caught:
        await (streamed(client) if stream else client.create(ASKED))
    assert (caught.value.kind, caught.value.retry_after) == (kind, asked)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(server.requests) == 1  # the SDK tries nothing again


NO_ANSWER = [
    (whole({"promptFeedback": {"blockReason": "SAFETY"}}), FailureKind.BLOCKED),
    (parts(finish="SAFETY"), FailureKind.BLOCKED),
    (parts({"text": "half"}, finish="RECITATION"), FailureKind.BLOCKED),
    (whole({"candidates": []}), FailureKind.EMPTY),
    (parts(), FailureKind.EMPTY),
    (parts({"text": "half an ans"}, finish="MAX_TOKENS"), FailureKind.TRUNCATED),
    (parts(finish="MALFORMED_FUNCTION_CALL"), FailureKind.MALFORMED),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("behaviour", "kind"), NO_ANSWER)
async def test_what_is_no_answer(make, server, stream, behaviour, kind):
    server.then(behaviour)
    client = make()
    with pytest.raises(ModelFailure) as caught:
        await (streamed(client) if stream else client.create(ASKED))
    assert caught.value.kind is kind


async def test_what_a_blocked_answer_used_is_known(make, server):
    server.then(parts(finish="SAFETY"))
    with pytest.raises(ModelFailure) as caught:
        await make().create(ASKED)
    assert caught.value.usage.prompt_tokens == 11


BROKEN: list[tuple[Behaviour, FailureKind]] = [
    (stream_of([body({"text": "a"}, finish=None)], then=lambda r: r.abort()), FailureKind.BROKEN),
    (stream_of([body({"text": "a"}, finish=None)]), FailureKind.BROKEN),
    (
        stream_of(
            [
                body({"text": "a"}, finish=None),
                {"error": {"code": 503, "message": "SECRET", "status": "UNAVAILABLE"}},
            ]
        ),
        FailureKind.UNAVAILABLE,
    ),
    (stream_of([body({"text": "a"}, finish=None), '{"candidates": [{']), FailureKind.MALFORMED),
    (stream_of(["[1, 2"]), FailureKind.MALFORMED),
]


@pytest.mark.parametrize(("behaviour", "kind"), BROKEN)
async def test_streams_that_break(make, server, behaviour, kind):
    server.then(behaviour)
    with pytest.raises(ModelFailure) as caught:
        await streamed(make())
    assert caught.value.kind is kind
    assert caught.value.retryable
    assert (await make().create(ASKED)).content == "Hello there."


async def test_a_body_that_is_not_json(make, server):
    server.then(lambda _, reply: reply.text('{"candidates": [{"content"'))
    with pytest.raises(ModelFailure) as caught:
        await make().create(ASKED)
    assert caught.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("stream", [True, False])
async def test_a_silent_server_is_not_waited_for_longer_than_the_idle_time(make, server, stream):
    server.then(silent)
    client = make(idle=0.2)
    with pytest.raises(ModelFailure) as caught:
        await (streamed(client) if stream else client.create(ASKED))
    assert caught.value.kind is FailureKind.TIMEOUT


async def test_a_slow_first_byte_is_waited_for(make, server):
    server.then(slow(0.3, says("Late.")))
    assert (await make().create(ASKED)).content == "Late."


async def test_nobody_there(make, server, http):
    client = GeminiClient("gemini-3", api_key=KEY, http=http, base_url="http://127.0.0.1:9")
    with pytest.raises(ModelFailure) as caught:
        await client.create(ASKED)
    assert caught.value.kind is FailureKind.UNAVAILABLE
    await client.close()


@pytest.mark.parametrize("behaviour", [silent, endless])
async def test_a_cancelled_call_closes_its_connection(make, server, behaviour):
    server.then(behaviour)
    token = CancellationToken()
    stream = make().create_stream(ASKED, cancellation_token=token)

    async def read() -> None:
        async for _ in stream:
            pass

    reading = asyncio.ensure_future(read())
    await server.asked.wait()
    token.cancel()
    async with asyncio.timeout(1):
        await server.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_cancelled_create_closes_its_connection(make, server):
    server.then(silent)
    token = CancellationToken()
    asking = asyncio.ensure_future(make().create(ASKED, cancellation_token=token))
    await server.asked.wait()
    token.cancel()
    async with asyncio.timeout(1):
        await server.left.wait()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_consumer_that_leaves_closes_the_connection(make, server):
    server.then(endless)
    stream = make().create_stream(ASKED)
    assert await anext(stream) == "and "
    await stream.aclose()
    async with asyncio.timeout(1):
        await server.left.wait()


async def test_a_thousand_calls_at_once(make, server):
    together = asyncio.Event()

    async def behave(request, reply) -> None:
        if server.open_now >= 1_000:
            together.set()
        await together.wait()
        await says("All.")(request, reply)

    server.usual = behave
    client = make(idle=60)
    results = await asyncio.gather(*(client.create(ASKED) for _ in range(1_000)))
    assert {result.content for result in results} == {"All."}
    assert server.open_most == 1_000


async def test_tokens_are_counted_here(make, server):
    client = make()
    assert client.count_tokens(ASKED) >= len("Be brief.Hi")
    assert client.remaining_tokens(ASKED) == 1_000_000 - client.count_tokens(ASKED)
    assert server.requests == []
