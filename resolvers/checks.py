"""Checks of input values; each raises `Refusal` BAD_INPUT that names the field and the bound."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, available_timezones

from resolvers.refusals import Refusal, RefusalCode

MAX_PAGE = 100
MAX_IDS = 100


def bad(field: str, message: str) -> Refusal:
    """A BAD_INPUT refusal of one input field."""
    return Refusal(RefusalCode.BAD_INPUT, message, ("input", field))


def line(value: str, field: str, *, most: int = 200) -> str:
    """A one-line text, NFC and stripped, of 1 to `most` characters."""
    text = " ".join(unicodedata.normalize("NFC", value).split())
    if not 1 <= len(text) <= most:
        raise bad(field, f"{field} has 1 to {most} characters; this has {len(text)}.")
    return text


def prose(value: str, field: str, *, most: int, least: int = 0) -> str:
    """A text of any lines, NFC with "\\n" newlines, of `least` to `most` characters."""
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n"))
    if not least <= len(text.strip()) or len(text) > most:
        raise bad(field, f"{field} has {least} to {most} characters; this has {len(text)}.")
    return text


def email(value: str, field: str = "email") -> str:
    """An address in lower case. Only its form is checked."""
    text = value.strip().lower()
    local, _, domain = text.partition("@")
    if not local or "." not in domain or " " in text or len(text) > 254:
        raise bad(field, f"{value[:60]!r} is not an e-mail address.")
    return text


def time_zone(value: str, field: str = "timeZone") -> str:
    """An IANA time zone."""
    if value not in available_timezones():
        raise bad(field, "A time zone is an IANA name such as Europe/Athens.")
    return ZoneInfo(value).key


def points(value: Decimal, field: str, *, most: Decimal = Decimal(100_000)) -> Decimal:
    """Points: finite, from 0 to `most`, three decimals at the most."""
    if not value.is_finite() or not 0 <= value <= most:
        raise bad(field, f"{field} lies between 0 and {most}.")
    if value != round(value, 3):
        raise bad(field, f"{field} has three decimals at the most.")
    return value


def moment(value: datetime | None, field: str) -> datetime | None:
    """A date and time with its offset."""
    if value is not None and value.tzinfo is None:
        raise bad(field, f"{field} needs an offset, as in 2026-05-01T12:00:00Z.")
    return value


def page_size(first: int) -> int:
    """How many rows a page may have."""
    if not 1 <= first <= MAX_PAGE:
        raise Refusal(RefusalCode.BAD_INPUT, f"`first` lies between 1 and {MAX_PAGE}.", ("first",))
    return first


def at_most(values: Sequence[object], field: str, most: int = MAX_IDS, least: int = 1) -> None:
    """A list's length."""
    if not least <= len(values) <= most:
        raise bad(field, f"{field} takes {least} to {most} entries; this has {len(values)}.")
