"""AutoGen's messages as Gemini's contents, and a response's parts as AutoGen's result.

Gemini 3 refuses a replayed function call without the `thought_signature` it came with
(https://ai.google.dev/gemini-api/docs/thought-signatures). AutoGen keeps id, name and arguments of
a call and nothing else, so the signature travels, and is stored, as the second half of the id.
"""

import base64
import binascii
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from autogen_core import FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    CreateResult,
    FinishReasons,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import Tool, ToolSchema
from google.genai import types

from agents.models.failures import FailureKind, ModelFailure
from agents.models.images import EncodedImage
from agents.models.tokens import CountedUsage

_SIGNED: Final = "~"
_OWN: Final = "assay-"
"""Begins an id made here: the provider gave none, and is told none."""

_FINISHES: Final = {
    None: FailureKind.BROKEN,
    "FINISH_REASON_UNSPECIFIED": FailureKind.EMPTY,
    "OTHER": FailureKind.EMPTY,
    "MAX_TOKENS": FailureKind.TRUNCATED,
    "MALFORMED_FUNCTION_CALL": FailureKind.MALFORMED,
    "MALFORMED_RESPONSE": FailureKind.MALFORMED,
    "UNEXPECTED_TOOL_CALL": FailureKind.MALFORMED,
    "TOO_MANY_TOOL_CALLS": FailureKind.MALFORMED,
    "MISSING_THOUGHT_SIGNATURE": FailureKind.INVALID,
}


def contents_of(messages: Sequence[LLMMessage]) -> tuple[str | None, list[types.Content]]:
    """The system instruction and the contents of a request."""
    system = "\n\n".join(m.content for m in messages if isinstance(m, SystemMessage))
    contents = [_content(m) for m in messages if not isinstance(m, SystemMessage)]
    return system or None, contents


def _content(message: LLMMessage) -> types.Content:
    if isinstance(message, UserMessage):
        return types.Content(role="user", parts=_user_parts(message))
    if isinstance(message, AssistantMessage):
        if isinstance(message.content, str):
            return types.Content(role="model", parts=[types.Part(text=message.content)])
        return types.Content(role="model", parts=[_call_part(call) for call in message.content])
    assert isinstance(message, FunctionExecutionResultMessage)  # noqa: S101 - the only one left
    return types.Content(
        role="user",
        parts=[
            types.Part(
                function_response=types.FunctionResponse(
                    id=_unsigned(one.call_id)[0],
                    name=one.name,
                    response={"error" if one.is_error else "output": one.content},
                )
            )
            for one in message.content
        ],
    )


def _user_parts(message: UserMessage) -> list[types.Part]:
    if isinstance(message.content, str):
        return [types.Part(text=message.content)]
    return [
        types.Part(text=part) if isinstance(part, str) else types.Part(inline_data=_blob(part))
        for part in message.content
    ]


def _blob(image: Image) -> types.Blob:
    if isinstance(image, EncodedImage):
        return types.Blob(data=image.data, mime_type=image.media_type)
    return types.Blob(data=base64.b64decode(image.to_base64()), mime_type="image/png")


def _call_part(call: FunctionCall) -> types.Part:
    given, signature = _unsigned(call.id)
    arguments = orjson.loads(call.arguments or "{}")
    return types.Part(
        function_call=types.FunctionCall(id=given, name=call.name, args=arguments),
        thought_signature=signature,
    )


def _unsigned(call_id: str) -> tuple[str | None, bytes | None]:
    """The provider's own id and the signature, each None where there was none."""
    given, _, encoded = call_id.partition(_SIGNED)
    try:
        signature = base64.urlsafe_b64decode(encoded) if encoded else None
    except binascii.Error:
        signature = None
    return (None if given.startswith(_OWN) else given or None), signature


def _signed(given: str | None, signature: bytes | None) -> str:
    own = given or f"{_OWN}{secrets.token_hex(8)}"
    if signature is None:
        return own
    return f"{own}{_SIGNED}{base64.urlsafe_b64encode(signature).decode()}"


def tools_of(tools: Sequence[Tool | ToolSchema]) -> list[types.Tool]:
    """Function declarations, as one tool."""
    declared = []
    for tool in tools:
        schema = tool.schema if isinstance(tool, Tool) else tool
        declared.append(
            types.FunctionDeclaration(
                name=schema["name"],
                description=schema.get("description", ""),
                parameters_json_schema=dict(schema.get("parameters", {})) or None,
            )
        )
    return [types.Tool(function_declarations=declared)] if declared else []


@dataclass
class Answer:
    """What a response, or the chunks of one so far, add up to."""

    model: str
    text: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[FunctionCall] = field(default_factory=list)
    finish: str | None = None
    blocked: bool = False
    candidates: bool = False
    usage: CountedUsage | None = None

    def take(self, response: types.GenerateContentResponse) -> str:
        """Add a response or a chunk; its visible text."""
        if response.usage_metadata is not None:
            self.usage = _usage(response.usage_metadata)
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self.blocked = True
        said = ""
        for candidate in (response.candidates or [])[:1]:
            self.candidates = True
            if candidate.finish_reason:
                self.finish = candidate.finish_reason.value
            content = candidate.content
            said += "".join(map(self._part, content.parts or [] if content else []))
        return said

    def _part(self, part: types.Part) -> str:
        if part.function_call is not None:
            call = part.function_call
            self.calls.append(
                FunctionCall(
                    id=_signed(call.id, part.thought_signature),
                    name=call.name or "",
                    arguments=orjson.dumps(call.args or {}).decode(),
                )
            )
        elif part.text:
            if part.thought:
                self.thoughts.append(part.text)
                return ""
            self.text.append(part.text)
            return part.text
        return ""

    def result(self) -> CreateResult:
        """The finished answer. Raises ModelFailure where it is none."""
        kind = self._failure()
        if kind is not None:
            raise ModelFailure(kind, self.model, usage=self.usage)
        thought = "".join(self.thoughts + (self.text if self.calls else []))
        content: Any = self.calls or "".join(self.text)
        reason: FinishReasons = "function_calls" if self.calls else "stop"
        return CreateResult(
            finish_reason=reason,
            content=content,
            usage=self.usage or CountedUsage(0, 0),
            cached=False,
            thought=thought or None,
        )

    def _failure(self) -> FailureKind | None:
        if self.blocked:
            return FailureKind.BLOCKED
        if not self.candidates:
            return FailureKind.EMPTY
        if self.finish == "STOP":
            return None if self.calls or any(self.text) else FailureKind.EMPTY
        # SAFETY, RECITATION, BLOCKLIST, SPII and whatever else is added: declined
        return _FINISHES.get(self.finish, FailureKind.BLOCKED)


def _usage(counted: types.GenerateContentResponseUsageMetadata) -> CountedUsage:
    """Thoughts are billed as output, a tool's own prompt as input."""
    return CountedUsage(
        prompt_tokens=(counted.prompt_token_count or 0)
        + (counted.tool_use_prompt_token_count or 0),
        completion_tokens=(counted.candidates_token_count or 0)
        + (counted.thoughts_token_count or 0),
        cached_tokens=counted.cached_content_token_count or 0,
    )
