"""Seats of the grading team and the messages they get. A member is any AutoGen chat agent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from autogen_agentchat.agents import AssistantAgent, BaseChatAgent
from autogen_agentchat.messages import StructuredMessage
from autogen_core.models import ChatCompletionClient, UserMessage
from pydantic import BaseModel

from agents.grading.brief import Role
from agents.grading.prompts import SYSTEM, VERSION, feedback_prompt, grade_prompt
from agents.grading.verdict import FeedbackRequest, FeedbackText, GradeRequest, GradeVerdict
from agents.ports import Usage


class GradeTask(StructuredMessage[GradeRequest]):
    """A grade request that a language model reads as a prompt and code as a value."""

    def to_model_text(self) -> str:
        """The prompt."""
        return grade_prompt(self.content)

    def to_model_message(self) -> UserMessage:
        """The prompt as a user message."""
        return UserMessage(content=self.to_model_text(), source=self.source)


class FeedbackTask(StructuredMessage[FeedbackRequest]):
    """A feedback request that a language model reads as a prompt and code as a value."""

    def to_model_text(self) -> str:
        """The prompt."""
        return feedback_prompt(self.content)

    def to_model_message(self) -> UserMessage:
        """The prompt as a user message."""
        return UserMessage(content=self.to_model_text(), source=self.source)


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """Who sits in a seat; part of each request's hash and of each assessment."""

    provider: str
    model: str
    prompt_version: str


class GradingMembers(Protocol):
    """Makes a fresh agent for each call: members keep nothing between attempts.

    A grader and the arbiter answer a `GradeTask` with `StructuredMessage[GradeVerdict]`, the
    feedback writer a `FeedbackTask` with `StructuredMessage[FeedbackText]`.
    """

    def grader(self, slot: Role) -> BaseChatAgent:
        """`slot` is GRADER_A or GRADER_B."""
        ...

    def arbiter(self) -> BaseChatAgent: ...

    def feedback_writer(self) -> BaseChatAgent: ...

    def identity(self, role: Role) -> MemberIdentity: ...

    def cost_micros(self, role: Role, usage: Usage) -> int:
        """The price of a call in micro-units of the configured currency."""
        ...


@dataclass(frozen=True, slots=True)
class ModelSeat:
    """A language model in a seat. `price` gives micro-units for a call's usage."""

    client: ChatCompletionClient
    provider: str
    model: str
    price: Callable[[Usage], int] = lambda _usage: 0


class ModelMembers:
    """Members which are language models without tools, one seat for each role."""

    def __init__(self, seats: Mapping[Role, ModelSeat]) -> None:
        """Raises ValueError where a role has no seat."""
        missing = set(Role) - set(seats)
        if missing:
            raise ValueError(f"no model for {', '.join(sorted(missing))}")
        self._seats = dict(seats)

    def grader(self, slot: Role) -> BaseChatAgent:
        """A fresh grader for the slot."""
        return self._agent(slot, GradeVerdict)

    def arbiter(self) -> BaseChatAgent:
        """A fresh third reader."""
        return self._agent(Role.ARBITER, GradeVerdict)

    def feedback_writer(self) -> BaseChatAgent:
        """A fresh feedback writer."""
        return self._agent(Role.FEEDBACK, FeedbackText)

    def identity(self, role: Role) -> MemberIdentity:
        """Provider, model and prompt of the seat."""
        seat = self._seats[role]
        return MemberIdentity(seat.provider, seat.model, VERSION)

    def cost_micros(self, role: Role, usage: Usage) -> int:
        """By the seat's price table."""
        return self._seats[role].price(usage)

    def _agent(self, role: Role, answer: type[BaseModel]) -> BaseChatAgent:
        return AssistantAgent(
            name=f"seat_{role.value.lower()}",
            model_client=self._seats[role].client,
            system_message=SYSTEM[role],
            output_content_type=answer,
        )


class SeatedMembers:
    """Each seat from a factory of its own, so that a statistical grader can sit beside models."""

    def __init__(self, seats: Mapping[Role, GradingMembers]) -> None:
        """Raises ValueError where a role has no factory."""
        missing = set(Role) - set(seats)
        if missing:
            raise ValueError(f"no member for {', '.join(sorted(missing))}")
        self._seats = dict(seats)

    def grader(self, slot: Role) -> BaseChatAgent:
        """A fresh grader for the slot."""
        return self._seats[slot].grader(slot)

    def arbiter(self) -> BaseChatAgent:
        """A fresh third reader."""
        return self._seats[Role.ARBITER].arbiter()

    def feedback_writer(self) -> BaseChatAgent:
        """A fresh feedback writer."""
        return self._seats[Role.FEEDBACK].feedback_writer()

    def identity(self, role: Role) -> MemberIdentity:
        """Who sits there."""
        return self._seats[role].identity(role)

    def cost_micros(self, role: Role, usage: Usage) -> int:
        """By the price of who sits there."""
        return self._seats[role].cost_micros(role, usage)
