"""Errors as the client reads them: typed, counted, and never with the text of an exception.

The response format is that of the GraphQL specification, section 7.1: `message`, `locations`,
`path`, and our `extensions.code` from `RefusalCode`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any

from graphql import GraphQLError

from ops.edge.contexts import Report, Throttled, Understood
from resolvers.refusals import Refusal, RefusalCode

ErrorObject = dict[str, Any]

MESSAGE_CHARACTERS = 500
LARGEST_SAFE_INTEGER = 2**53 - 1  # what a JavaScript client reads exactly

STATUS = {
    RefusalCode.BAD_INPUT: HTTPStatus.BAD_REQUEST,
    RefusalCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    RefusalCode.TOKEN_EXPIRED: HTTPStatus.UNAUTHORIZED,
    RefusalCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    RefusalCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    RefusalCode.CONFLICT: HTTPStatus.CONFLICT,
    RefusalCode.INVALID_STATE: HTTPStatus.CONFLICT,
    RefusalCode.IDEMPOTENCY_CONFLICT: HTTPStatus.CONFLICT,
    RefusalCode.RESYNC: HTTPStatus.CONFLICT,
    RefusalCode.LIMIT_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    RefusalCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    RefusalCode.UNSUPPORTED_FILE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    RefusalCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    RefusalCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    RefusalCode.INVALID_DOCUMENT: HTTPStatus.BAD_REQUEST,
    RefusalCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# graphql-core quotes what a scalar's parser raised; that is the text of an exception.
QUOTED_EXCEPTION = re.compile(r", but encountered error '.*'; found", re.DOTALL)
ARGUMENT_COERCION = "graphql.execution.values"


class RequestRefused(Exception):
    """A request, or the rest of a stream, that is answered with errors and no data.

    `wellformed` says that the request itself was in order, so that a client that accepts
    `application/json` gets 200 (GraphQL over HTTP, section 6.4.1), whatever `status` says.
    """

    def __init__(
        self,
        errors: Sequence[ErrorObject],
        status: int = HTTPStatus.BAD_REQUEST,
        *,
        wellformed: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(errors)
        self.errors = list(errors)
        self.status = status
        self.wellformed = wellformed
        self.headers = dict(headers or {})


def error_object(code: RefusalCode, message: str, **details: object) -> ErrorObject:
    """One error; `details` join the code in `extensions`."""
    return {"message": message[:MESSAGE_CHARACTERS], "extensions": {"code": code, **details}}


def limit_error(name: str, value: int, message: str, actual: int | None = None) -> ErrorObject:
    """An exceeded limit: its name, what it allows, and what was asked, where that is known."""
    details: dict[str, object] = {"limit": name, "value": value}
    if actual is not None:
        details["actual"] = min(actual, LARGEST_SAFE_INTEGER)
    return error_object(RefusalCode.LIMIT_EXCEEDED, message, **details)


def refused(
    code: RefusalCode, message: str, headers: Mapping[str, str] | None = None, **details: object
) -> RequestRefused:
    """A request that is refused for one reason, with the status that belongs to the code."""
    return refused_for(error_object(code, message, **details), headers)


def refused_for(error: ErrorObject, headers: Mapping[str, str] | None = None) -> RequestRefused:
    """A request that is refused for one error."""
    status = STATUS[error["extensions"]["code"]]
    challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    return RequestRefused([error], status, headers={**challenge, **(headers or {})})


def document_error(error: GraphQLError, code: RefusalCode) -> ErrorObject:
    """An error graphql-core found in the document or in the variables."""
    message = QUOTED_EXCEPTION.sub(", found", error.message)
    formatted = error_object(code, message)
    if error.locations:
        formatted["locations"] = [place.formatted for place in error.locations]
    return formatted


class ErrorFormatter:
    """Makes error objects of what was raised, and masks what was not foreseen."""

    def __init__(self, report: Report, understood: Understood, most: int) -> None:
        self._report = report
        self._understood = understood
        self._most = most

    def of_exception(self, exception: BaseException, correlation_id: str) -> ErrorObject:
        """The refusal behind an exception, or a masked error whose id is reported."""
        refusal = exception if isinstance(exception, Refusal) else self._understood(exception)
        if refusal is None:
            self._report(exception, correlation_id)
            return error_object(
                RefusalCode.INTERNAL,
                "Something went wrong on our side. "
                f"Quote the id {correlation_id} when you report it.",
                id=correlation_id,
            )
        details: dict[str, object] = {}
        if refusal.path:
            details["path"] = list(refusal.path)
        if isinstance(refusal, Throttled):
            details |= {
                "limit": refusal.limit,
                "value": refusal.value,
                "retryAfter": math.ceil(refusal.retry_after),
            }
        return error_object(refusal.code, refusal.message, **details)

    def refused(self, exception: BaseException, correlation_id: str) -> RequestRefused:
        """An exception that ended the whole request, with its status and headers."""
        error = self.of_exception(exception, correlation_id)
        headers: dict[str, str] = {}
        if isinstance(exception, Throttled):
            headers = {"Retry-After": str(math.ceil(exception.retry_after)), **exception.headers}
        return refused_for(error, headers)

    def of_field(self, error: GraphQLError, correlation_id: str) -> ErrorObject:
        """An error of one field: a refusal, a bad argument, or masked."""
        cause = error.original_error
        if isinstance(cause, GraphQLError) or cause is None:
            formatted = (
                document_error(error, RefusalCode.BAD_INPUT)
                if _raised_in(error, ARGUMENT_COERCION) or _raised_in(cause, ARGUMENT_COERCION)
                else self.of_exception(cause or error, correlation_id)
            )
        else:
            formatted = self.of_exception(cause, correlation_id)
        if error.locations:
            formatted["locations"] = [place.formatted for place in error.locations]
        if error.path is not None:
            formatted["path"] = error.path
        return formatted

    def of_fields(
        self, errors: Sequence[GraphQLError], correlation_id: str
    ) -> tuple[list[ErrorObject], int]:
        """The errors to return and the number that were left out; all of them are reported."""
        formatted = [self.of_field(error, correlation_id) for error in errors]
        return formatted[: self._most], max(0, len(formatted) - self._most)


def _raised_in(error: BaseException | None, module: str) -> bool:
    """Whether the innermost frame that raised `error` belongs to `module`.

    graphql-core gives the errors of argument coercion no type of their own.
    """
    trace: TracebackType | None = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == module
