"""Gemini through google-genai, as an AutoGen model client."""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx2
import orjson
from autogen_core import CancellationToken
from autogen_core.models import CreateResult, LLMMessage
from autogen_core.tools import Tool, ToolSchema
from google import genai
from google.genai import errors, types
from pydantic import BaseModel, ValidationError

from agents.models.failures import FailureKind, ModelFailure, of_status
from agents.models.gemini_messages import Answer, contents_of, tools_of
from agents.models.provider_client import CallOptions, ProviderClient, closing_responses
from agents.models.retry import retry_after, retry_info
from agents.models.schemas import answer_schema
from agents.models.stopping import pumped, stoppable

ADDRESS: Final = "https://generativelanguage.googleapis.com"

ToolChoice = Tool | Literal["auto", "required", "none"]
JsonOutput = bool | type[BaseModel] | None


class GeminiClient(ProviderClient):
    """One model. Calls raise ModelFailure, and asyncio.CancelledError when their token is
    cancelled, which closes the connection."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        http: httpx2.AsyncClient,
        options: CallOptions | None = None,
        base_url: str = ADDRESS,
    ) -> None:
        super().__init__()
        self._model = model
        self._options = options or CallOptions()
        self._sync = httpx2.Client(verify=False)  # sends nothing, and so reads no certificates
        self._client = genai.Client(
            api_key=api_key,
            enterprise=False,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1beta",
                timeout=int(self._options.idle_seconds * 1_000),  # milliseconds
                httpx_client=self._sync,
                httpx_async_client=http,
            ),
        )

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: JsonOutput = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """One answer. `extra_create_args` are fields of GenerateContentConfig."""
        contents, config = self._request(
            messages, tools, tool_choice, json_output, extra_create_args
        )
        with self._failures(FailureKind.UNAVAILABLE):
            response = await stoppable(
                self._client.aio.models.generate_content(
                    model=self._model, contents=contents, config=config
                ),
                cancellation_token,
            )
        return self._finished(response)

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: JsonOutput = None,
        extra_create_args: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The answer's text as it comes, then the whole."""
        contents, config = self._request(
            messages, tools, tool_choice, json_output, extra_create_args
        )
        answer = Answer(self._model)
        chunks = pumped(self._chunks(contents, config), cancellation_token)
        async with aclosing(chunks):
            async for chunk in chunks:
                if said := answer.take(chunk):
                    yield said
        result = answer.result()
        self._add(result.usage)
        yield result

    async def close(self) -> None:
        """Closes what the SDK made beside the given transport."""
        self._sync.close()

    async def _chunks(
        self, contents: list[types.Content], config: types.GenerateContentConfig
    ) -> AsyncGenerator[types.GenerateContentResponse, None]:
        async with closing_responses():
            with self._failures(FailureKind.UNAVAILABLE):
                stream: Any = await self._client.aio.models.generate_content_stream(
                    model=self._model, contents=contents, config=config
                )
            with self._failures(FailureKind.BROKEN):
                async with aclosing(stream):
                    async for chunk in stream:
                        yield chunk

    def _finished(self, response: types.GenerateContentResponse) -> CreateResult:
        answer = Answer(self._model)
        answer.take(response)
        result = answer.result()
        self._add(result.usage)
        return result

    def _request(
        self,
        messages: Sequence[LLMMessage],
        tools: Sequence[Tool | ToolSchema],
        tool_choice: ToolChoice,
        json_output: JsonOutput,
        extra: Mapping[str, Any] | None,
    ) -> tuple[list[types.Content], types.GenerateContentConfig]:
        system, contents = contents_of(messages)
        declared = tools_of(tools)
        options: dict[str, Any] = {
            "max_output_tokens": self._options.output_tokens,
            # the team runs tools itself; the SDK would call Python functions on its own
            "automatic_function_calling": types.AutomaticFunctionCallingConfig(disable=True),
        }
        if declared:
            options |= {"tools": declared, "tool_config": _tool_config(tool_choice)}
        schema = None
        if json_output is not None and json_output is not False:
            schema = answer_schema(json_output, ordered=True) if json_output is not True else None
            if declared and not self._model.startswith("gemini-3"):
                # Gemini 2.x refuses a JSON type together with tools: it is asked for in words
                asked = f" by this schema: {orjson.dumps(schema).decode()}" if schema else ""
                system = "\n\n".join(filter(None, [system, f"Answer in JSON{asked}."]))
            else:
                options["response_mime_type"] = "application/json"
                options["response_json_schema"] = schema
        options |= {"system_instruction": system, **(extra or {})}
        return contents, types.GenerateContentConfig(**options)

    @contextmanager
    def _failures(self, cut: FailureKind) -> Iterator[None]:
        """What the SDK and its transport raise, typed; `cut` is what a lost connection means."""
        try:
            yield
        except errors.APIError as error:
            raise self._refused(error) from None
        except (httpx2.ConnectTimeout, httpx2.ConnectError):
            raise ModelFailure(FailureKind.UNAVAILABLE, self._model) from None
        except httpx2.TimeoutException:
            raise ModelFailure(FailureKind.TIMEOUT, self._model) from None
        except httpx2.HTTPError:
            raise ModelFailure(cut, self._model) from None
        except (errors.UnknownApiResponseError, ValidationError, json.JSONDecodeError):
            raise ModelFailure(FailureKind.MALFORMED, self._model) from None

    def _refused(self, error: errors.APIError) -> ModelFailure:
        status = error.code if isinstance(error.code, int) else 500
        kind = of_status(status)
        if kind is FailureKind.INVALID and "API_KEY_INVALID" in str(error.details):
            kind = FailureKind.UNAUTHORIZED
        headers = getattr(error.response, "headers", None) or {}
        asked = retry_info(error.details)
        if asked is None:
            asked = retry_after(headers.get("retry-after"), datetime.now(UTC))
        return ModelFailure(kind, self._model, status=status, retry_after=asked)


def _tool_config(choice: ToolChoice) -> types.ToolConfig:
    if isinstance(choice, Tool):
        calling = types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=[choice.name]
        )
    else:
        mode = {"auto": "AUTO", "required": "ANY", "none": "NONE"}[choice]
        calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode(mode))
    return types.ToolConfig(function_calling_config=calling)
