"""Tokens: what a provider counted, and what is known of a request without asking anybody."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResultMessage,
    LLMMessage,
    RequestUsage,
    UserMessage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

IMAGE_TOKENS: Final = 6_000
"""More than a provider counts for an image of 2,000 by 2,000: one for each patch of 28 by 28 at
most. OpenAI's smallest models count images at several times that, at a fraction of the price."""
_MESSAGE_TOKENS: Final = 8


@dataclass
class CountedUsage(RequestUsage):
    """A call's tokens. Prompt tokens include the cached ones, completion tokens the thoughts."""

    cached_tokens: int = 0
    estimated: bool = False


def most_tokens(
    messages: Sequence[LLMMessage],
    tools: Sequence[Tool | ToolSchema] = (),
    schema: type[BaseModel] | None = None,
) -> int:
    """More input tokens than any provider counts: a token of byte-level BPE has a byte at least."""
    size = sum(len(text.encode("utf-8", "replace")) for text in _texts(messages))
    size += sum(len(orjson.dumps(_schema(tool), default=str)) for tool in tools)
    size += len(orjson.dumps(schema.model_json_schema())) if schema else 0
    return size + IMAGE_TOKENS * _images(messages) + _MESSAGE_TOKENS * (len(messages) + 1)


def likely_tokens(characters: int) -> int:
    """About four characters make a token of English prose."""
    return -(-characters // 4)


def likely_input(messages: Sequence[LLMMessage]) -> int:
    """An estimate of a request's tokens."""
    characters = sum(map(len, _texts(messages)))
    return likely_tokens(characters) + IMAGE_TOKENS * _images(messages)


def _texts(messages: Sequence[LLMMessage]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, FunctionExecutionResultMessage):
            yield from (part for one in message.content for part in (one.name, one.content))
        elif isinstance(message, AssistantMessage) and not isinstance(message.content, str):
            yield from (part for one in message.content for part in (one.name, one.arguments))
        elif isinstance(message.content, str):
            yield message.content
        elif isinstance(message, UserMessage):
            yield from (part for part in message.content if isinstance(part, str))


def _images(messages: Sequence[LLMMessage]) -> int:
    return sum(
        not isinstance(part, str)
        for message in messages
        if isinstance(message, UserMessage) and not isinstance(message.content, str)
        for part in message.content
    )


def _schema(tool: Tool | ToolSchema) -> ToolSchema:
    return tool.schema if isinstance(tool, Tool) else tool
