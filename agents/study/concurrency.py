"""Structured concurrency whose failures are the failures themselves."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def first_failure() -> Iterator[None]:
    """Raise the first exception of a task group instead of the group.

    A lost lease must reach the worker as a lost lease, whichever task of a team met it.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None
