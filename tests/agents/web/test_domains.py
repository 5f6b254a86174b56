"""Which addresses are a public page, and whose."""

import pytest

from agents.web.domains import DomainPolicy, domain, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.ORG./a?b#c", "example.org"),
        ("http://münchen.example.de", "xn--mnchen-3ya.example.de"),
        ("https://example.org:8443/", "example.org"),
        ("https://localhost/", None),
        ("https://10.0.0.1/", None),
        ("https://2130706433/", None),
        ("https://example.org\\@evil.net/", None),
        ("https://" + "a" * 3_000 + ".org", None),
        ("ftp://example.org/", None),
        ("//example.org/", None),
        ("https://example.org:port/", None),
        ("https://[bad/", None),
        ("", None),
    ],
)
def test_host(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    "name", ["", "org", "a b.org", "https://a.org", "-a.org", "a..org", "*.a.org"]
)
def test_no_domain(name: str) -> None:
    assert domain(name) is None


def test_lists() -> None:
    policy = DomainPolicy(allowed=("example.org", "edu.tr"), denied=("private.example.org",))
    assert policy.admits("https://example.org/")
    assert policy.admits("https://a.b.example.org/")
    assert policy.admits("https://metu.edu.tr/")
    assert not policy.admits("https://private.example.org/")
    assert not policy.admits("https://x.private.example.org/")
    assert not policy.admits("https://badexample.org/")
    assert DomainPolicy().admits("https://anything.net/")
    assert not DomainPolicy().admits("https://192.168.0.1/")
