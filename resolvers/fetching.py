"""What may be fetched from where: rules alone, no network.

The list of networks follows the IANA special-purpose registries (RFC 6890) and what clouds use for
their metadata. IPv6 forms that carry an IPv4 address are refused as a whole, because what they
lead to is decided by a router and not by us.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Protocol

Network = IPv4Network | IPv6Network

MOST_REDIRECTS = 5
PORTS = {"https": 443, "http": 80}

_CLOSED = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's metadata, at a public address
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_IPV6_UNICAST = ip_network("2000::/3")
"""Beyond it lie loopback, mapped, NAT64, unique local, link-local and multicast addresses."""


class FetchCode(StrEnum):
    """Why a file could not be fetched."""

    FETCH_REFUSED = "FETCH_REFUSED"
    FETCH_FAILED = "FETCH_FAILED"
    TOO_LARGE = "TOO_LARGE"
    DUPLICATE = "DUPLICATE"
    NO_ROOM = "NO_ROOM"


class FetchFailure(Exception):
    """The file does not come. `again`: it may come later."""

    def __init__(self, code: FetchCode, message: str, advice: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.code, self.message, self.advice, self.again = code, message, advice, again


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file that is coming."""

    file_name: str
    media_type: str | None
    content: AsyncIterator[bytes]
    """Raises `FetchFailure`."""


class FileFetcher(Protocol):
    """Fetches over HTTP, within the rules."""

    def fetch(self, url: str, most: int) -> AbstractAsyncContextManager[FetchedFile]:
        """The file at an address, of up to `most` bytes. Raises `FetchFailure`."""


@dataclass(frozen=True)
class FetchRules:
    """What may be fetched, as configured; nothing unless hosts are named."""

    hosts: tuple[str, ...] = ()
    """`docs.example.edu`, `*.example.edu` for all below it, `*` for all there are."""
    plain_http: bool = False
    networks: tuple[Network, ...] = ()
    """Networks that may be fetched from although they are not public."""


def host_allowed(host: str, patterns: Sequence[str]) -> bool:
    """Whether a host name, in ASCII, is on the list."""
    name = host.lower().rstrip(".")
    return any(
        pattern == "*"
        or name == pattern.lower()
        or (pattern.startswith("*.") and name.endswith(pattern[1:].lower()))
        for pattern in patterns
    )


def address_allowed(address: str, networks: Sequence[Network] = ()) -> bool:
    """Whether one may connect to this IP address: a public one, or one of `networks`."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in networks):
        return True
    if ip.version == 6 and ip not in _IPV6_UNICAST:
        return False
    return ip.is_global and not any(ip in network for network in _CLOSED)


def refused(message: str) -> FetchFailure:
    """The address is one that is never fetched from."""
    return FetchFailure(
        FetchCode.FETCH_REFUSED, message, "Download the file yourself and upload it."
    )


def check_target(scheme: str, host: str, port: int | None, user: bool, rules: FetchRules) -> None:
    """Whether an address, taken apart, is one to fetch from. Raises `FetchFailure`."""
    if scheme not in PORTS or (scheme == "http" and not rules.plain_http):
        raise refused("Only https:// addresses are fetched.")
    if user:
        raise refused("An address with a user name or password is not fetched.")
    if port is not None and port not in PORTS.values() and not rules.networks:
        raise refused(f"Port {port} is not fetched from.")
    if port is not None and not 0 < port < 65_536:
        raise refused(f"There is no port {port}.")
    if not rules.hosts:
        raise refused("Fetching is switched off on this server (ASSAY_FETCH_HOSTS).")
    if not host_allowed(host, rules.hosts):
        raise refused(f"{host[:100]} is not a host this server fetches from.")
