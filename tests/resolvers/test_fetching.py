"""The guard of what is fetched: no form of an inner address gets through."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvers.fetching import (
    FetchFailure,
    FetchRules,
    address_allowed,
    check_target,
    host_allowed,
)

INNER = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
]  # fmt: skip
INNER_V6 = ["::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"]
CARRIERS = ["::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/96"]
RULES = FetchRules(("docs.example.edu", "*.example.org"))


def inside(network: str) -> st.SearchStrategy[str]:
    whole = ip_network(network)
    first = int(whole.network_address)
    return st.integers(first, first + whole.num_addresses - 1).map(
        lambda n: str(IPv4Address(n) if whole.version == 4 else IPv6Address(n))
    )


@given(st.one_of([inside(network) for network in INNER + INNER_V6]))
def test_an_inner_address_is_refused(address: str) -> None:
    assert not address_allowed(address)


@given(st.sampled_from(CARRIERS), st.ip_addresses(v=4))
def test_an_address_that_carries_another_is_refused(carrier: str, inner: IPv4Address) -> None:
    carried = int(ip_network(carrier).network_address) | int(inner)
    assert not address_allowed(str(IPv6Address(carried)))


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_6to4_and_teredo_are_refused(inner: IPv4Address, rest: int) -> None:
    assert not address_allowed(str(IPv6Address((0x2002 << 112) | (int(inner) << 80) | rest)))
    assert not address_allowed(
        str(IPv6Address((0x20010000 << 96) | (int(inner) << 64) | rest % 2**64))
    )


@given(st.ip_addresses())
def test_nothing_python_calls_special_gets_through(ip: IPv4Address | IPv6Address) -> None:
    if address_allowed(str(ip)):
        assert ip.is_global
        assert not any((ip.is_private, ip.is_loopback, ip.is_link_local, ip.is_multicast))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "fe80::1%eth0", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "", "localhost", "127.1",
        "0x7f000001", "2130706433", "8.8.8.8 ", "1.2.3.4/32",
    ],
)  # fmt: skip
def test_metadata_and_what_is_no_address(address: str) -> None:
    assert not address_allowed(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert address_allowed(address)


def test_a_network_may_be_opened() -> None:
    assert address_allowed("10.20.0.7", [ip_network("10.20.0.0/16")])
    assert not address_allowed("10.21.0.7", [ip_network("10.20.0.0/16")])
    assert ip_address("10.20.0.7").is_private


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("docs.example.edu", True), ("DOCS.example.edu.", True), ("a.example.org", True),
        ("a.b.example.org", True), ("example.org", False), ("example.edu", False),
        ("docs.example.edu.evil.org", False), ("notexample.org", False), ("", False),
    ],
)  # fmt: skip
def test_hosts(host: str, allowed: bool) -> None:
    assert host_allowed(host, RULES.hosts) is allowed
    assert host_allowed(host, ("*",))
    assert not host_allowed(host, ())


@pytest.mark.parametrize(
    ("scheme", "host", "port", "user"),
    [
        ("http", "docs.example.edu", None, False), ("ftp", "docs.example.edu", None, False),
        ("file", "", None, False), ("https", "docs.example.edu", 22, False),
        ("https", "docs.example.edu", None, True), ("https", "elsewhere.org", None, False),
        ("gopher", "docs.example.edu", 443, False),
    ],
)  # fmt: skip
def test_targets_that_are_refused(scheme: str, host: str, port: int | None, user: bool) -> None:
    with pytest.raises(FetchFailure):
        check_target(scheme, host, port, user, RULES)


def test_nothing_is_fetched_unless_it_is_configured() -> None:
    check_target("https", "docs.example.edu", None, False, RULES)
    check_target("https", "docs.example.edu", 443, False, RULES)
    with pytest.raises(FetchFailure, match="ASSAY_FETCH_HOSTS"):
        check_target("https", "docs.example.edu", None, False, FetchRules())
