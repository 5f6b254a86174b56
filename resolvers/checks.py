"""Checks of input values; each raises `Refusal` BAD_INPUT that names the field and the bound."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, available_timezones

from agents.documents.normal_form import MAX_COMBINING_RUN, StackedMarks, nfc
from resolvers.refusals import Refusal, RefusalCode

MAX_PAGE = 100
MAX_IDS = 100

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
# Controls, direction overrides, lone surrogates: they make two names look alike.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def bad(field: str, message: str) -> Refusal:
    """A BAD_INPUT refusal of one input field."""
    return Refusal(RefusalCode.BAD_INPUT, message, ("input", field))


def line(value: str, field: str, *, most: int = 200) -> str:
    """A one-line text, NFC and stripped, of 1 to `most` characters that can be seen."""
    text = " ".join(_nfc(value, field, most).split())
    if not 1 <= len(text) <= most:
        raise bad(field, f"{field} has 1 to {most} characters; this has {len(text)}.")
    if _HIDDEN.search(text) or not any(unicodedata.category(c)[0] in "LNPS" for c in text):
        raise bad(field, f"{field} has characters that cannot be seen; write it anew.")
    return text


def prose(value: str, field: str, *, most: int, least: int = 0) -> str:
    """A text of any lines, NFC with "\\n" newlines, of `least` to `most` characters."""
    text = _nfc(value, field, most).replace("\r\n", "\n").replace("\r", "\n")
    if not least <= len(text.strip()) or len(text) > most:
        length = len(text if len(text) > most else text.strip())
        raise bad(field, f"{field} has {least} to {most} characters; this has {length}.")
    return text


def _nfc(value: str, field: str, most: int) -> str:
    if len(value) > 4 * most + 100:  # more than any text of `most` has before normalisation
        raise bad(field, f"{field} has up to {most} characters; this has {len(value)}.")
    try:
        return nfc(value)
    except StackedMarks:
        message = f"{field} has more than {MAX_COMBINING_RUN} combining marks in a row."
        raise bad(field, message) from None


def email(value: str, field: str = "email") -> str:
    """An address in lower case. Only its form is checked."""
    text = value.strip().lower()
    if len(text) > 254 or not _EMAIL.fullmatch(text):
        raise bad(field, f"{value[:60]!r} is not an e-mail address.")
    return text


def slug(value: str, field: str = "slug") -> str:
    """A short name for addresses: lower-case letters, digits and hyphens."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,59}", value):
        raise bad(field, f"{field} is 1 to 60 lower-case letters, digits and hyphens.")
    return value


def language(value: str, field: str = "language") -> str:
    """A BCP 47 tag in its usual form: language, then script, region or variant."""
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", value):
        raise bad(field, "A language is a BCP 47 tag such as en or pt-BR.")
    return value


def time_zone(value: str, field: str = "timeZone") -> str:
    """An IANA time zone."""
    if value not in available_timezones() - {"Factory", "localtime"}:
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
    """A date and time with its offset, of the years 2000 to 2199."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise bad(field, f"{field} needs an offset, as in 2026-05-01T12:00:00Z.")
    if not 2000 <= value.year < 2200:
        raise bad(field, f"{field} lies in the years 2000 to 2199.")
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
