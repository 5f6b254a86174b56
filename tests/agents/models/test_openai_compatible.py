"""openai and autogen-ext themselves, against a server that speaks the protocol and misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from autogen_core import CancellationToken
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema
from pydantic import BaseModel, Field

from agents.models.failures import FailureKind, ModelFailure
from agents.models.images import EncodedImage
from agents.models.openai_compatible import OpenAIClient
from agents.models.provider_client import CallOptions, http_client
from tests.agents.models.openai_server import (
    DONE,
    KEY,
    calls,
    chunk,
    counted,
    endless,
    fails,
    openai_server,
    says,
    stream_of,
)
from tests.agents.models.protocol_server import ProtocolServer, silent, slow

ASKED = [SystemMessage(content="Be brief."), UserMessage(content="Hi", source="ann")]
TOOL = ToolSchema(
    name="search",
    description="Searches the material.",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
    },
)


class Note(BaseModel):
    """What is asked for."""

    text: str = Field(max_length=100)
    marks: list[int] = Field(default_factory=list)


@pytest.fixture
async def server() -> AsyncIterator[ProtocolServer]:
    async with openai_server().running() as running:
        yield running


@pytest.fixture
async def make(server: ProtocolServer) -> AsyncIterator[Callable[..., OpenAIClient]]:
    async with http_client(CallOptions(), 1_000) as http:

        def client(key: str | None = KEY, idle: float = 5) -> OpenAIClient:
            options = CallOptions(idle_seconds=idle)
            address = f"{server.address}/v1"
            return OpenAIClient("qwen3", api_key=key, http=http, options=options, base_url=address)

        yield client


async def streamed(client: OpenAIClient) -> list[str | CreateResult]:
    return [item async for item in client.create_stream(ASKED)]


async def test_answer_and_its_tokens(make, server):
    result = await make().create(ASKED)
    assert (result.content, result.finish_reason) == ("Hello there.", "stop")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (11, 7)
    assert result.usage.cached_tokens == 4
    sent = server.requests[0].body
    assert sent["max_tokens"] == 8_192
    assert sent["stream_options"] == {"include_usage": True}


async def test_stream_is_the_text_and_then_the_whole(make):
    *pieces, result = await streamed(make())
    assert len(pieces) == 4
    assert "".join(pieces) == result.content == "Hello there."


async def test_a_server_that_does_not_count_is_estimated(make, server):
    server.then(stream_of([chunk(content="Twelve chars"), chunk("stop"), DONE]))
    usage = (await make().create(ASKED)).usage
    assert (usage.completion_tokens, usage.estimated) == (3, True)
    assert usage.prompt_tokens > 0


async def test_structured_output(make, server):
    server.then(says('{"text": "a", "marks": []}'))
    await make().create(ASKED, json_output=Note)
    form = server.requests[0].body["response_format"]
    assert form["json_schema"]["name"] == "Note"
    assert form["json_schema"]["schema"]["required"] == ["text", "marks"]
    assert "maxLength" not in str(form)


async def test_a_tool_call_and_its_result(make, server):
    client = make()
    server.then(calls("search", '{"que', 'ry": "ttl"}'), says("64."))
    result = await client.create(ASKED, tools=[TOOL])
    (call,) = result.content
    assert (call.id, call.name, call.arguments) == ("c1", "search", '{"query": "ttl"}')
    found = FunctionExecutionResult(content="64", name="search", call_id="c1")
    asked = AssistantMessage(content=[call], source="tutor")
    again = [*ASKED, asked, FunctionExecutionResultMessage(content=[found])]
    assert (await client.create(again, tools=[TOOL])).content == "64."
    assert server.requests[1].body["messages"][-1] == {
        "role": "tool",
        "content": "64",
        "tool_call_id": "c1",
    }


async def test_reasoning_is_not_shown_as_the_answer(make, server):
    thought = chunk(reasoning_content="Let me see.")
    server.then(stream_of([thought, chunk(content="Yes."), chunk("stop"), counted(), DONE]))
    *pieces, result = await streamed(make())
    assert pieces == ["Yes."]
    assert (result.content, result.thought) == ("Yes.", "Let me see.")


DATE = format_datetime(datetime.now(UTC) + timedelta(seconds=3_600), usegmt=True)


async def test_an_image_is_sent_as_it_is(make, server):
    image = EncodedImage(b"\xff\xd8\xffrest", "image/jpeg")
    await make().create([UserMessage(content=["What is it?", image], source="ann")])
    text, picture = server.requests[0].body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert picture["image_url"]["url"] == "data:image/jpeg;base64,/9j/cmVzdA=="


def test_an_image_is_what_it_says_it_is():
    for data, media_type in ((b"<svg/>", "image/png"), (b"\xff\xd8\xff", "image/svg+xml")):
        with pytest.raises(ValueError, match="not image/"):
            EncodedImage(data, media_type)


REFUSED = [
    (fails(429, retry_after="7"), FailureKind.RATE_LIMITED, 7),
    (fails(429, retry_after=DATE), FailureKind.RATE_LIMITED, pytest.approx(3_600, abs=600)),
    (fails(503), FailureKind.UNAVAILABLE, None),
    (fails(401), FailureKind.UNAUTHORIZED, None),
    (fails(400), FailureKind.INVALID, None),
    (lambda _, reply: reply.text("<html>", 502), FailureKind.UNAVAILABLE, None),
]


@pytest.mark.parametrize(("behaviour", "kind", "asked"), REFUSED)
async def test_refusals_are_typed_and_quote_nothing(make, server, behaviour, kind, asked):
    server.then(behaviour)
    with pytest.raises(ModelFailure) as caught:
        await make().create(ASKED)
    assert (caught.value.kind, caught.value.retry_after) == (kind, asked)
    assert "SECRET" not in str(caught.value)
    assert len(server.requests) == 1  # the SDK tries nothing again


async def test_a_wrong_key(make):
    with pytest.raises(ModelFailure) as caught:
        await make(key="another").create(ASKED)
    assert (caught.value.kind, caught.value.retryable) == (FailureKind.UNAUTHORIZED, False)


SAID = chunk(content="a")
BROKEN = [
    (stream_of([SAID], then=lambda r: r.abort()), FailureKind.BROKEN),
    (stream_of([SAID]), FailureKind.BROKEN),
    (stream_of([SAID, {"error": {"message": "SECRET"}}]), FailureKind.UNAVAILABLE),
    (stream_of([SAID, '{"choices": [{']), FailureKind.MALFORMED),
    (says("half", finish="length"), FailureKind.TRUNCATED),
    (says("half", finish="content_filter"), FailureKind.BLOCKED),
    (stream_of([chunk(refusal="No."), chunk("stop"), DONE]), FailureKind.BLOCKED),
    (stream_of([chunk("stop"), counted(), DONE]), FailureKind.EMPTY),
]


@pytest.mark.filterwarnings("ignore:No text content")  # of autogen-ext, beside our own failure
@pytest.mark.parametrize(("behaviour", "kind"), BROKEN)
async def test_streams_that_are_no_answer(make, server, behaviour, kind):
    server.then(behaviour)
    with pytest.raises(ModelFailure) as caught:
        await streamed(make())
    assert caught.value.kind is kind
    assert "SECRET" not in str(caught.value)
    assert (await make().create(ASKED)).content == "Hello there."


async def test_a_silent_server_is_not_waited_for_longer_than_the_idle_time(make, server):
    server.then(silent)
    with pytest.raises(ModelFailure) as caught:
        await make(idle=0.2).create(ASKED)
    assert caught.value.kind is FailureKind.TIMEOUT


async def test_a_slow_first_byte_is_waited_for(make, server):
    server.then(slow(0.3, says("Late.")))
    assert (await make().create(ASKED)).content == "Late."


@pytest.mark.parametrize("behaviour", [silent, endless])
async def test_a_cancelled_call_closes_its_connection(make, server, behaviour):
    server.then(behaviour)
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
