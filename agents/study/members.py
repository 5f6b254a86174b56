"""Seats of the study team. A member is any AutoGen chat agent that answers its task."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import (
    BaseChatMessage,
    ModelClientStreamingChunkEvent,
    StructuredMessage,
    TextMessage,
)
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient
from pydantic import BaseModel, ValidationError

from agents.ports import AgentFailure, Called, Reader, Usage
from agents.receipts import Receipt, collected, total
from agents.study.critic import OfflineCritic
from agents.study.extractive import ExtractiveTutor
from agents.study.messages import CriticVerdict, StudyPlan, TutorAnswer
from agents.study.planner import OfflinePlanner
from agents.study.prompts import CRITIC, PLANNER, TUTOR
from agents.study.summary import Summary

ReplyT = TypeVar("ReplyT", bound=BaseModel)
Price = Callable[[Usage], int]


def _free(_usage: Usage) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Seat:
    """How a member is made, fresh for each call, and what a call costs in micro-units. One that
    `reads_prompts` is given the text of its task."""

    make: Callable[[], BaseChatAgent]
    provider: str
    model: str
    price: Price = _free
    reads_prompts: bool = False


@dataclass(frozen=True, slots=True)
class StudyMembers:
    """The planner answers a PlanTask with StudyPlan, the tutor a TutorTask with TutorAnswer
    (streaming its JSON), the critic a CriticTask with CriticVerdict."""

    planner: Seat
    tutor: Seat
    critic: Seat
    any_language: bool = False
    """Whether the planner knows open graded work in other languages than English."""


def offline_members(reader: Reader) -> StudyMembers:
    """Members without a model, which need no key and no network."""
    return StudyMembers(
        planner=Seat(OfflinePlanner, "offline", "rules"),
        tutor=Seat(lambda: ExtractiveTutor(reader), "offline", "extractive"),
        critic=Seat(OfflineCritic, "offline", "rules"),
    )


_REPLIES: Final = (
    StructuredMessage[StudyPlan],
    StructuredMessage[TutorAnswer],
    StructuredMessage[CriticVerdict],
    StructuredMessage[Summary],
)
"""Held because pydantic forgets a parametrised class that nobody holds: each agent would make its
own, which takes several milliseconds of the event loop."""


def model_members(
    client: ChatCompletionClient, *, provider: str, model: str, price: Price = _free
) -> StudyMembers:
    """Members which are one language model in three roles, without tools.

    To mix, take seats of both: `replace(model_members(...), critic=offline.critic)`.
    """

    seat = partial(model_seat, client, provider=provider, model=model, price=price)
    return StudyMembers(
        planner=seat("planner", PLANNER, StudyPlan),
        tutor=seat("tutor", TUTOR, TutorAnswer, stream=True),
        critic=seat("critic", CRITIC, CriticVerdict),
        any_language=True,
    )


def model_seat(
    client: ChatCompletionClient,
    name: str,
    system: str,
    reply: type[BaseModel],
    *,
    provider: str,
    model: str,
    stream: bool = False,
    price: Price = _free,
) -> Seat:
    """A seat of a language model that answers with a `reply`, without tools."""

    def make() -> BaseChatAgent:
        return AssistantAgent(
            name=name,
            model_client=client,
            system_message=system,
            output_content_type=reply,
            model_client_stream=stream,
        )

    return Seat(make, provider, model, price, reads_prompts=True)


async def consult(
    seat: Seat,
    task: BaseChatMessage,
    reply: type[ReplyT],
    *,
    step_key: str,
    cancellation: CancellationToken,
    seconds: float,
    on_chunk: Callable[[str], None] | None = None,
) -> Called[ReplyT]:
    """One call of a fresh member. `on_chunk` gets the text it streams.

    Raises AgentFailure (retryable) when it takes longer than `seconds` or its reply is not a
    `reply`; and what the member raises.
    """
    response: Response | None = None
    try:
        with collected() as receipts:
            async with (
                asyncio.timeout(seconds),
                aclosing(
                    seat.make().on_messages_stream([await _read(seat, task)], cancellation)
                ) as events,
            ):
                async for event in events:
                    if isinstance(event, Response):
                        response = event
                    elif isinstance(event, ModelClientStreamingChunkEvent) and on_chunk:
                        on_chunk(event.content)
    except TimeoutError as error:
        raise AgentFailure(
            f"no reply within {seconds:g} s", retryable=True, step_key=step_key
        ) from error
    except ValidationError as error:
        raise AgentFailure(
            f"the reply is not a {reply.__name__}", retryable=True, step_key=step_key
        ) from error
    return _called(seat, response, reply, receipts, step_key)


async def _read(seat: Seat, task: BaseChatMessage) -> BaseChatMessage:
    """The task as the seat's member reads it. To write a prompt takes milliseconds, in which other
    answers flow."""
    if not seat.reads_prompts:
        return task
    return TextMessage(content=await asyncio.to_thread(task.to_model_text), source=task.source)


def _called(
    seat: Seat,
    response: Response | None,
    reply: type[ReplyT],
    receipts: list[Receipt],
    step_key: str,
) -> Called[ReplyT]:
    message = response.chat_message if response else None
    if not isinstance(message, StructuredMessage) or not isinstance(message.content, reply):
        raise AgentFailure(
            f"the reply is not a {reply.__name__}", retryable=True, step_key=step_key
        )
    receipt = total(receipts)
    if receipt is not None:
        return Called(
            message.content, receipt.provider, receipt.model, receipt.usage, receipt.cost_micros
        )
    counted = message.models_usage
    usage = Usage(counted.prompt_tokens, counted.completion_tokens) if counted else Usage()
    return Called(message.content, seat.provider, seat.model, usage, seat.price(usage))
