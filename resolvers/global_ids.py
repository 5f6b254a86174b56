"""Relay ids: opaque to clients, a type's name and a UUID to us."""

import base64
import binascii
from collections.abc import Sequence
from uuid import UUID

from resolvers.refusals import Refusal, RefusalCode


def global_id(type_name: str, key: UUID) -> str:
    """The id a client knows an object by."""
    return base64.urlsafe_b64encode(f"{type_name}:{key}".encode()).decode().rstrip("=")


def parse_global_id(value: str, path: Sequence[str] = ()) -> tuple[str, UUID]:
    """The type's name and the key. Raises `Refusal` BAD_INPUT."""
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        type_name, key = raw.decode("ascii").split(":")
        return type_name, UUID(key)
    except (binascii.Error, UnicodeError, ValueError):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "This is not an id of this server. Pass an `id` as a query returned it.",
            path,
        ) from None


def key_of(value: str, type_name: str, path: Sequence[str] = ()) -> UUID:
    """The key of an id that must be of `type_name`. Raises `Refusal` BAD_INPUT."""
    found, key = parse_global_id(value, path)
    if found != type_name:
        raise Refusal(
            RefusalCode.BAD_INPUT, f"This is the id of a {found}; pass that of a {type_name}.", path
        )
    return key
