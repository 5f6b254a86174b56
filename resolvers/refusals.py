"""What the server understood and declines. Everything else that goes wrong is masked.

A `Refusal` raised in a mutation becomes an entry of the payload's `userErrors`; raised in a
query or a subscription it becomes an error whose `extensions.code` is the same enum value.
"""

from collections.abc import Sequence
from enum import StrEnum


class RefusalCode(StrEnum):
    """Why a request was declined. The documented enum of the public contract."""

    BAD_INPUT = "BAD_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - the name of a code, not a secret
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    INVALID_STATE = "INVALID_STATE"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    TOO_LARGE = "TOO_LARGE"
    UNSUPPORTED_FILE = "UNSUPPORTED_FILE"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    PROVIDER_NOT_APPROVED = "PROVIDER_NOT_APPROVED"
    RESYNC = "RESYNC"
    UNAVAILABLE = "UNAVAILABLE"
    TIMEOUT = "TIMEOUT"
    INVALID_DOCUMENT = "INVALID_DOCUMENT"
    INTERNAL = "INTERNAL"


class Refusal(Exception):
    """An understood request that is declined.

    `message` is written for the person who reads it and says what to do; `path` names the
    input field it speaks of (`("input", "points")`), empty when it speaks of the whole.
    """

    def __init__(self, code: RefusalCode, message: str, path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = tuple(path)
