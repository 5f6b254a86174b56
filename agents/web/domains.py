"""Which addresses of the web an answer may rest on."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

MOST_CHARACTERS: Final = 2_000
_NAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class DomainPolicy:
    """A course's lists. A domain stands for itself and what is below it; without an allow list all
    are allowed; deny wins."""

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def admits(self, url: str) -> bool:
        """Whether `url` is a public http(s) address on the allowed side."""
        host = host_of(url)
        return (
            host is not None
            and not _below(host, self.denied)
            and (not self.allowed or _below(host, self.allowed))
        )


def domain(text: str) -> str | None:
    """A domain as the lists hold it (ASCII, lower case), or None for what is none."""
    try:
        name = text.strip().rstrip(".").lower().encode("idna").decode("ascii")
    except UnicodeError:
        return None
    return name if _NAME.fullmatch(name) else None


def host_of(url: str) -> str | None:
    """The domain of a public web address; None for other schemes, names that are numbers, and
    addresses which carry a user name."""
    if len(url) > MOST_CHARACTERS or any(char.isspace() or not char.isprintable() for char in url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc or "\\" in url:
        return None
    try:
        ip_address(host)
    except ValueError:
        return domain(host)
    return None


def _below(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == it or host.endswith(f".{it}") for it in domains)
