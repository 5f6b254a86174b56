"""Calls of members: through the ledger, typed in failure, stopped by the run's token."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken
from pydantic import BaseModel, ValidationError

from agents.grading.brief import Role
from agents.grading.members import GradingMembers
from agents.ports import (
    AgentCancelled,
    AgentFailure,
    Called,
    Ledger,
    Usage,
    through_ledger,
)
from agents.receipts import collected, total

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ResultT = TypeVar("ResultT")

STOP_SECONDS: Final = 0.8
"""How long a cancelled run may take to wind up before it is left behind."""

_RETRYABLE: Final = (TimeoutError, ConnectionError, ValidationError)


class MemberCalls:
    """The calls of one attempt's members."""

    def __init__(
        self,
        members: GradingMembers,
        ledger: Ledger,
        cancellation: CancellationToken,
        timeout: timedelta,
    ) -> None:
        self._members = members
        self._ledger = ledger
        self._cancellation = cancellation
        self._timeout = timeout.total_seconds()

    async def ask(
        self,
        role: Role,
        step_key: str,
        make: Callable[[], BaseChatAgent],
        task: BaseChatMessage,
        request: BaseModel,
        answer_type: type[AnswerT],
    ) -> AnswerT:
        """The member's answer, or the committed one of the same step and request.

        Raises AgentFailure for whatever the member raises; what the ledger raises passes.
        """

        async def call() -> Called[AnswerT]:
            with collected() as receipts:
                response = await self._respond(step_key, make, task)
            content = _content(response, answer_type, step_key)
            receipt = total(receipts)
            if receipt is not None:
                return Called(
                    content, receipt.provider, receipt.model, receipt.usage, receipt.cost_micros
                )
            reported = response.chat_message.models_usage
            usage = (
                Usage(reported.prompt_tokens, reported.completion_tokens) if reported else Usage()
            )
            identity = self._members.identity(role)
            return Called(
                response=content,
                provider=identity.provider,
                model=identity.model,
                usage=usage,
                cost_micros=self._members.cost_micros(role, usage),
            )

        return await through_ledger(self._ledger, step_key, request, call, answer_type)

    async def _respond(
        self, step_key: str, make: Callable[[], BaseChatAgent], task: BaseChatMessage
    ) -> Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await make().on_messages([task], self._cancellation)
        except AgentFailure:
            raise
        except Exception as error:
            # The type only: the text of a provider's or pydantic's error quotes the student.
            raise AgentFailure(
                f"{step_key}: {type(error).__name__}",
                retryable=bool(getattr(error, "retryable", isinstance(error, _RETRYABLE))),
                step_key=step_key,
            ) from error


async def both(
    first: Coroutine[Any, Any, ResultT], second: Coroutine[Any, Any, ResultT]
) -> tuple[ResultT, ResultT]:
    """Both results. Where one raises, the other is cancelled and that exception is raised."""
    failure: BaseException
    try:
        async with asyncio.TaskGroup() as group:
            one, other = group.create_task(first), group.create_task(second)
    except BaseExceptionGroup as failures:
        failure = _first(failures)
    else:
        return one.result(), other.result()
    raise failure


async def until_cancelled(
    work: Coroutine[Any, Any, ResultT], cancellation: CancellationToken
) -> ResultT:
    """The result of `work`, or AgentCancelled within a second of the token's cancellation.

    Cancelling the awaiting task itself cancels the work too and raises CancelledError.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    asked: asyncio.Future[None] = loop.create_future()
    cancellation.add_callback(lambda: _settle(loop, asked))
    try:
        waiting: set[asyncio.Future[Any]] = {task, asked}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_SECONDS)
            task.add_done_callback(_retrieve)
    if not task.done() or task.cancelled():
        if cancellation.is_cancelled():
            raise AgentCancelled("the run was cancelled")
        raise asyncio.CancelledError
    failure = task.exception()
    if isinstance(failure, AgentFailure) and cancellation.is_cancelled():
        raise AgentCancelled("the run was cancelled") from failure
    return task.result()


def _settle(loop: asyncio.AbstractEventLoop, asked: asyncio.Future[None]) -> None:
    """Safe from any thread, and after the run."""

    def settle() -> None:
        if not asked.done():
            asked.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Marks the exception of a run that was cancelled as seen."""
    if not task.cancelled():
        task.exception()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


def _content(response: Response, answer_type: type[AnswerT], step_key: str) -> AnswerT:
    message = response.chat_message
    if isinstance(message, StructuredMessage) and isinstance(message.content, answer_type):
        return message.content
    try:
        return answer_type.model_validate_json(message.to_text())
    except ValidationError as error:
        raise AgentFailure(
            f"{step_key}: the answer is not a {answer_type.__name__}",
            retryable=True,
            step_key=step_key,
        ) from error
