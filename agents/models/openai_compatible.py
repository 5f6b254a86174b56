"""OpenAI's chat completions, as OpenAI, vLLM, Ollama and llama.cpp serve them, through autogen-ext.

Every call is streamed, also where the answer is wanted whole: so a cancelled call is known to the
token, and a silent server is noticed.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx2
import openai.resources.chat.completions.completions  # noqa: F401 - or the SDK would at a call
from autogen_core import CancellationToken
from autogen_core.models import CreateResult, LLMMessage
from autogen_core.tools import Tool, ToolSchema
from autogen_ext.models.openai import BaseOpenAIChatCompletionClient
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
)
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel, ValidationError

from agents.models.failures import FailureKind, ModelFailure, of_status
from agents.models.provider_client import CallOptions, ProviderClient
from agents.models.retry import retry_after
from agents.models.schemas import answer_schema
from agents.models.stopping import pumped
from agents.models.tokens import CountedUsage, likely_input, likely_tokens

ADDRESS: Final = "https://api.openai.com/v1"

ToolChoice = Tool | Literal["auto", "required", "none"]


class _Call(BaseOpenAIChatCompletionClient):
    """One call of autogen-ext's client, which leaves a stream open that nobody reads to its end
    and drops what it counts of the cache: both are taken in hand here."""

    opened = False
    refused = False
    finish: str | None = None
    cached_tokens = 0

    async def _create_stream_chunks(
        self,
        tool_params: list[ChatCompletionToolParam],
        oai_messages: list[ChatCompletionMessageParam],
        create_args: dict[str, Any],
        cancellation_token: CancellationToken | None,  # noqa: ARG002 - the caller's task is stopped
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        self.thoughts: list[str] = []
        offered: dict[str, Any] = {"tools": tool_params} if tool_params else {}
        stream = await self._client.chat.completions.create(
            messages=oai_messages, stream=True, **offered, **create_args
        )
        self.opened = True
        try:
            async for chunk in stream:
                self._note(chunk)
                yield chunk
        finally:
            await stream.close()

    def _note(self, chunk: ChatCompletionChunk) -> None:
        if chunk.usage and chunk.usage.prompt_tokens_details:
            self.cached_tokens = chunk.usage.prompt_tokens_details.cached_tokens or 0
        for choice in chunk.choices[:1]:
            self.finish = choice.finish_reason or self.finish
            self.refused = self.refused or bool(choice.delta.refusal)
            # autogen-ext would stream a model's reasoning to the reader as a part of its answer
            thought = (choice.delta.model_extra or {}).pop("reasoning_content", None)
            if isinstance(thought, str):
                self.thoughts.append(thought)


class OpenAIClient(ProviderClient):
    """One model of one server. Calls raise ModelFailure, and asyncio.CancelledError when their
    token is cancelled, which closes the connection."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None,
        http: httpx2.AsyncClient,
        options: CallOptions | None = None,
        base_url: str = ADDRESS,
    ) -> None:
        super().__init__()
        self._model = model
        self._options = options or CallOptions()
        self._client = AsyncOpenAI(
            api_key=api_key or "none",  # a server without keys reads none
            base_url=base_url,
            http_client=http,
            max_retries=0,
            timeout=httpx2.Timeout(
                self._options.idle_seconds, connect=self._options.connect_seconds, pool=None
            ),
        )
        # OpenAI's newer models refuse max_tokens; other servers may not know its successor
        self._limit = "max_completion_tokens" if base_url == ADDRESS else "max_tokens"

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """One answer. `extra_create_args` are parameters of the chat completion."""
        items = self.create_stream(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        async with aclosing(items):
            async for item in items:
                if isinstance(item, CreateResult):
                    return item
        raise ModelFailure(FailureKind.BROKEN, self._model)

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The answer's text as it comes, then the whole."""
        arguments = {"model": self._model, self._limit: self._options.output_tokens}
        call = _Call(self._client, create_args=arguments, model_info=self.model_info)
        items = call.create_stream(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            extra_create_args={**_response_format(json_output), **(extra_create_args or {})},
            include_usage=True,
        )
        with self._failures(call):
            async with aclosing(pumped(items, cancellation_token)) as read:
                async for item in read:
                    if isinstance(item, str):
                        yield item
                    else:
                        yield self._finished(call, item, messages)

    def _finished(
        self, call: _Call, result: CreateResult, messages: Sequence[LLMMessage]
    ) -> CreateResult:
        counted = result.usage
        usage = CountedUsage(counted.prompt_tokens, counted.completion_tokens, call.cached_tokens)
        if not counted.prompt_tokens:  # the server does not count
            text = result.content if isinstance(result.content, str) else str(result.content)
            usage = CountedUsage(likely_input(messages), likely_tokens(len(text)), estimated=True)
        self._add(usage)
        kind = _failure(call, result)
        if kind is not None:
            raise ModelFailure(kind, self._model, usage=usage)
        thought = "".join(call.thoughts) or result.thought
        return result.model_copy(update={"usage": usage, "thought": thought})

    @contextmanager
    def _failures(self, call: _Call) -> Iterator[None]:
        """What the SDK raises, typed."""
        try:
            yield
        except APIStatusError as error:
            asked = retry_after(error.response.headers.get("retry-after"), datetime.now(UTC))
            status = error.status_code
            raise ModelFailure(
                of_status(status), self._model, status=status, retry_after=asked
            ) from None
        except APITimeoutError:
            raise ModelFailure(FailureKind.TIMEOUT, self._model) from None
        except APIConnectionError:
            kind = FailureKind.BROKEN if call.opened else FailureKind.UNAVAILABLE
            raise ModelFailure(kind, self._model) from None
        except APIError:  # an error inside of a stream
            raise ModelFailure(FailureKind.UNAVAILABLE, self._model) from None
        except (json.JSONDecodeError, ValidationError):
            raise ModelFailure(FailureKind.MALFORMED, self._model) from None


def _failure(call: _Call, result: CreateResult) -> FailureKind | None:
    if call.refused or call.finish == "content_filter":
        return FailureKind.BLOCKED
    if call.finish is None:
        return FailureKind.BROKEN
    if call.finish == "length":
        return FailureKind.TRUNCATED
    return None if result.content else FailureKind.EMPTY


def _response_format(json_output: bool | type[BaseModel] | None) -> dict[str, Any]:
    """The schema as a plain parameter: the SDK's own helper parses the whole text at each chunk."""
    if json_output is None or json_output is False:
        return {}
    if json_output is True:
        return {"response_format": {"type": "json_object"}}
    schema = {"name": json_output.__name__, "schema": answer_schema(json_output), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
