"""What members without a model share: how they read a task."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken
from pydantic import BaseModel

RequestT = TypeVar("RequestT", bound=BaseModel)


def request_in(
    messages: Sequence[BaseChatMessage], kind: type[RequestT], cancellation: CancellationToken
) -> RequestT:
    """The request in the last message.

    Raises TypeError for any other message, asyncio.CancelledError when already cancelled.
    """
    if cancellation.is_cancelled():
        raise asyncio.CancelledError
    message = messages[-1] if messages else None
    if not isinstance(message, StructuredMessage) or not isinstance(message.content, kind):
        raise TypeError(f"the task of this member is a StructuredMessage of {kind.__name__}")
    return message.content
