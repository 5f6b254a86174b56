"""Row identifiers."""

import secrets
import time
from datetime import datetime
from uuid import UUID, uuid4


def uuid7() -> UUID:
    """A time-ordered identifier (RFC 9562 §5.7: 48 bits of Unix milliseconds, 74 random bits)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76
    value |= secrets.randbits(12) << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return UUID(int=value)


def uuid7_floor(moment: datetime) -> UUID:
    """The least identifier `uuid7` makes at a moment or later."""
    return UUID(int=int(moment.timestamp() * 1_000) << 80 | 0x7 << 76 | 0b10 << 62)


def random_id() -> UUID:
    """An identifier that tells neither time nor order, for rows an anonymous marker may see."""
    return uuid4()


_ALIAS_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"


def alias() -> str:
    """A name for a submission that says nothing of its author: eight characters of thirty."""
    return "".join(secrets.choice(_ALIAS_ALPHABET) for _ in range(8))
