"""Runs operations: a result for a query or a mutation, a stream of results for a subscription."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from inspect import isawaitable
from typing import Any, TypeVar

import orjson
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution import (
    Executor,
    create_source_event_stream,
    execute_root_selection_set,
    execute_subscription_event,
)
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental

from observability.metrics import Metrics
from ops.edge.contexts import Contexts, OperationFacts, OperationKind, Principal
from ops.edge.documents import Document, Documents
from ops.edge.errors import (
    STATUS,
    ErrorFormatter,
    ErrorObject,
    RequestRefused,
    document_error,
    error_object,
    limit_error,
    refused,
)
from ops.edge.inputs import longest_id_list
from ops.edge.limits import EdgeLimits
from ops.edge.requests import GraphQLRequest
from resolvers.refusals import RefusalCode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation:
    """A request whose document is valid and within the limits."""

    request: GraphQLRequest
    document: Document
    node: OperationDefinitionNode
    facts: OperationFacts


@dataclass(frozen=True, slots=True)
class Result:
    """A response with data: the encoded JSON object, as a transport sends it."""

    payload: bytes
    outcome: str
    """`ok`, or the first error's code in lower case."""


class Engine:
    """Executes one schema for all transports."""

    def __init__(
        self,
        schema: GraphQLSchema,
        contexts: Contexts,
        limits: EdgeLimits,
        errors: ErrorFormatter,
        metrics: Metrics,
        executor_class: type[Executor[Any]] | None = None,
    ) -> None:
        self._schema = schema
        self._contexts = contexts
        self._limits = limits
        self._errors = errors
        self._metrics = metrics
        self._executor_class = executor_class or ExecutorThrowingOnIncremental
        self._mutations: set[asyncio.Task[Result]] = set()
        self.documents = Documents(schema, limits)

    async def prepare(self, request: GraphQLRequest, correlation_id: str) -> Operation:
        """Parse, measure and validate. Raises `RequestRefused`."""
        try:
            document, node, measure = await self.documents.prepared(
                request.query, request.operation_name, request.variables
            )
            self._check_ids(node, request.variables)
        except RequestRefused as refusal:
            for error in refusal.errors:
                if "limit" in error["extensions"]:
                    self._metrics.limit_refused(str(error["extensions"]["limit"]))
            raise
        facts = OperationFacts(
            name=node.name.value if node.name else None,
            kind=node.operation.value,
            correlation_id=correlation_id,
            cost=measure.cost,
            extensions=request.extensions,
        )
        return Operation(request, document, node, facts)

    async def run(self, operation: Operation, principal: Principal) -> Result:
        """Run a query or a mutation, and close its files.

        A mutation that has begun is finished even when the caller is cancelled, because its
        client went: what it accepted is not lost. Raises `RequestRefused` when there is no data
        at all: a refused context, bad variables, the timeout.
        """
        if operation.facts.kind != "mutation":
            return await self._run(operation, principal)
        task = asyncio.ensure_future(self._run(operation, principal))
        self._mutations.add(task)
        task.add_done_callback(self._mutation_done)
        return await asyncio.shield(task)

    async def open(self, operation: Operation, principal: Principal) -> AsyncGenerator[Result]:
        """Open a subscription: its results, each made in a context of its own.

        Raises `RequestRefused` when there is no stream; the stream raises it when it ends with
        errors: the source failed, or the principal may no longer read.
        """
        executor = self._executor(operation)
        async with deadline(self._limits.operation_seconds, operation.facts.kind):
            executor.context_value = await self._context(principal, operation.facts)
            source: Any = await settled(create_source_event_stream(executor))
        if isinstance(source, ExecutionResult):
            raise self._unopened(source, operation.facts.correlation_id)
        return self._events(operation, principal, executor, aiter(source))

    async def drain(self) -> None:
        """Wait for the mutations that outlived their clients; the timeout bounds each."""
        while self._mutations:
            await asyncio.wait(self._mutations)

    def _mutation_done(self, task: asyncio.Task[Result]) -> None:
        self._mutations.discard(task)
        if not task.cancelled():
            task.exception()  # marks it read: nobody waits for a client that left

    async def _run(self, operation: Operation, principal: Principal) -> Result:
        facts, began = operation.facts, time.perf_counter()
        outcome = "cancelled"
        try:
            result = await self._execute(operation, principal)
            outcome = result.outcome
        except RequestRefused as refusal:
            outcome = _outcome(refusal.errors)
            raise
        else:
            return result
        finally:
            seconds = time.perf_counter() - began
            self._metrics.graphql_operation(facts.name, facts.kind, outcome, seconds)

    async def _execute(self, operation: Operation, principal: Principal) -> Result:
        try:
            executor = self._executor(operation)
            async with deadline(self._limits.operation_seconds, operation.facts.kind):
                executor.context_value = await self._context(principal, operation.facts)
                try:
                    result = await settled(execute_root_selection_set(executor))
                except Exception as error:
                    raise self._errors.refused(error, operation.facts.correlation_id) from error
            return self._result(result, operation.facts.correlation_id)
        finally:
            for file in operation.request.files:
                await file.close()

    async def _events(
        self,
        operation: Operation,
        principal: Principal,
        executor: Executor[Any],
        source: AsyncIterator[Any],
    ) -> AsyncGenerator[Result]:
        facts = replace(operation.facts, event=True)
        field = _root_field(operation.node)
        self._metrics.subscription_opened(field)
        try:
            while True:
                try:
                    event = await anext(source)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    raise self._errors.refused(error, facts.correlation_id) from error
                result = await self._event(operation, principal, executor, event, facts)
                self._metrics.subscription_event(field)
                yield result
        finally:
            self._metrics.subscription_closed(field)
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
            for file in operation.request.files:
                await file.close()

    async def _event(
        self,
        operation: Operation,
        principal: Principal,
        executor: Executor[Any],
        event: object,
        facts: OperationFacts,
    ) -> Result:
        each = executor.build_per_event_executor(event)
        async with deadline(self._limits.operation_seconds, operation.facts.kind):
            each.context_value = await self._context(principal, facts)
            try:
                result = await settled(execute_subscription_event(each))
            except Exception as error:
                raise self._errors.refused(error, facts.correlation_id) from error
        return self._result(result, facts.correlation_id)

    async def _context(self, principal: Principal, facts: OperationFacts) -> object:
        expires_at = principal.expires_at
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise refused(RefusalCode.TOKEN_EXPIRED, "Your token has expired; get a new one.")
        try:
            return await self._contexts.context(principal, facts)
        except Exception as error:
            raise self._errors.refused(error, facts.correlation_id) from error

    def _executor(self, operation: Operation) -> Executor[Any]:
        built = self._executor_class.build(
            self._schema,
            operation.document.ast,
            raw_variable_values=dict(operation.request.variables),
            operation_name=operation.request.operation_name,
            max_coercion_errors=self._limits.errors,
        )
        if isinstance(built, list):
            errors = [document_error(error, RefusalCode.BAD_INPUT) for error in built]
            raise RequestRefused(errors[: self._limits.errors], wellformed=True)
        return built

    def _unopened(self, result: ExecutionResult, correlation_id: str) -> RequestRefused:
        errors, _ = self._errors.of_fields(result.errors or [], correlation_id)
        return RequestRefused(errors, wellformed=True)

    def _result(self, result: ExecutionResult, correlation_id: str) -> Result:
        payload: dict[str, Any] = {"data": result.data}
        outcome = "ok"
        if result.errors:
            entries = self._error_entries(result.errors, correlation_id)
            outcome, payload = _outcome(entries["errors"]), {**entries, **payload}
        try:
            return Result(orjson.dumps(payload), outcome)
        except TypeError as error:  # a scalar that serialises to what JSON cannot carry
            raise self._errors.refused(error, correlation_id) from error

    def _error_entries(self, errors: list[GraphQLError], correlation_id: str) -> dict[str, Any]:
        formatted, omitted = self._errors.of_fields(errors, correlation_id)
        entries: dict[str, Any] = {"errors": formatted}
        if omitted:
            entries["extensions"] = {"errorsOmitted": omitted}
        return entries

    def _check_ids(self, node: OperationDefinitionNode, variables: Mapping[str, Any]) -> None:
        longest = longest_id_list(self._schema, node, variables)
        if longest > self._limits.ids:
            message = f"A list of {longest} ids was given; {self._limits.ids} are allowed."
            error = limit_error("ids", self._limits.ids, message, longest)
            raise RequestRefused([error], wellformed=True)


def _outcome(errors: Sequence[ErrorObject]) -> str:
    return str(errors[0]["extensions"]["code"]).lower()


def _root_field(node: OperationDefinitionNode) -> str:
    """The one root field a subscription has, or the fragment it is in."""
    (selection,) = node.selection_set.selections
    return selection.name.value if isinstance(selection, FieldNode) else "fragment"


async def settled(value: T | Awaitable[T]) -> T:
    """What graphql-core returns as it is or as an awaitable."""
    return await value if isawaitable(value) else value


@asynccontextmanager
async def deadline(seconds: float, kind: OperationKind) -> AsyncGenerator[None]:
    """Stop the body after `seconds`. Raises `RequestRefused` with TIMEOUT then."""
    try:
        async with asyncio.timeout(seconds) as timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        advice = "Ask for less." if kind != "mutation" else "See what was saved before you retry."
        message = f"The operation took longer than {seconds:g} s and was stopped. {advice}"
        error = error_object(RefusalCode.TIMEOUT, message, limit="operation", value=seconds)
        raise RequestRefused([error], STATUS[RefusalCode.TIMEOUT], wellformed=True) from None
