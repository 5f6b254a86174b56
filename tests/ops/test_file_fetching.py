"""Fetching over real connections: 127.0.0.2 stands for a public host, 127.0.0.1 for the inside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from ops.file_fetching import GuardedFetcher, resolve_host
from resolvers.fetching import FetchFailure, FetchRules

OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"
RULES = FetchRules(("*",), plain_http=True, networks=(ip_network(f"{OUTSIDE}/32"),))
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Host:
    """A host that answers each path with what it was given, and remembers what it was asked."""

    answers: dict[str, bytes | Write] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        answer = self.answers[head.split(b" ")[1].decode()]
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)
        try:
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def listening(address: str, port: int = 0) -> AsyncIterator[Host]:
    host = Host()
    server = await asyncio.start_server(host.handle, address, port)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


def answer(content: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def moved(to: str) -> bytes:
    return answer(b"", f"Location: {to}", status="302 Found")


class Names:
    """Resolves every name to the next of these answers; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        if host in {OUTSIDE, INSIDE}:
            return [host]
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def fetched(
    url: str,
    *,
    names: Names | None = None,
    most: int = 1_000,
    rules: FetchRules = RULES,
    seconds: float = 20,
) -> tuple[str, str | None, bytes]:
    fetcher = GuardedFetcher(rules, resolve=names or Names([OUTSIDE]), whole_seconds=seconds)
    async with fetcher.fetch(url, most) as coming:
        content = b"".join([piece async for piece in coming.content])
        return coming.file_name, coming.media_type, content


async def test_a_file_comes() -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/notes/K%C3%A4se.md?x=1"] = answer(b"# Notes", "Content-Type: text/markdown")
        url = f"http://docs.example.edu:{host.port}/notes/K%C3%A4se.md?x=1#part"
        assert await fetched(url) == ("Käse.md", "text/markdown", b"# Notes")
    (head,) = host.asked
    assert f"host: docs.example.edu:{host.port}".encode() in head.lower()
    assert b"accept-encoding: identity" in head.lower()
    assert b"cookie" not in head.lower()


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """DNS rebinding: the first answer is public, every later one leads inside."""
    async with listening(OUTSIDE) as outside, listening(INSIDE, outside.port) as inside:
        outside.answers["/a.md"] = answer(b"outside")
        names = Names([OUTSIDE], [INSIDE])
        url = f"http://rebound.example.org:{outside.port}/a.md"
        assert (await fetched(url, names=names))[2] == b"outside"
        assert names.asked == 1
        with pytest.raises(FetchFailure, match="not public"):
            await fetched(url, names=names)
        assert inside.asked == []


@pytest.mark.parametrize("addresses", [[INSIDE], [OUTSIDE, INSIDE], ["::ffff:127.0.0.2"], ["::1"]])
async def test_a_name_that_leads_inside_is_refused(addresses: list[str]) -> None:
    async with listening(INSIDE) as inside:
        with pytest.raises(FetchFailure) as refused:
            await fetched(f"http://x.example.org:{inside.port}/", names=Names(addresses))
        assert (refused.value.code, refused.value.again) == ("FETCH_REFUSED", False)
        assert inside.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]"]
)
async def test_an_inner_address_in_any_spelling_is_refused(host: str) -> None:
    async with listening(INSIDE) as inside:
        fetcher = GuardedFetcher(RULES, resolve=resolve_host)
        with pytest.raises(FetchFailure):
            async with fetcher.fetch(f"http://{host}:{inside.port}/", 10):
                pass
        assert inside.asked == []


@pytest.mark.parametrize(
    "to", [f"http://{OUTSIDE}:99999/", "http://xn--/", "gopher://x/", "file:///x"]
)
async def test_a_redirect_to_no_address_is_refused(to: str) -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/a"] = moved(to)
        with pytest.raises(FetchFailure) as failed:
            await fetched(f"http://{OUTSIDE}:{host.port}/a")
    assert (failed.value.code, failed.value.again) == ("FETCH_REFUSED", False)


async def test_a_redirect_inward_is_refused() -> None:
    async with listening(OUTSIDE) as outside, listening(INSIDE) as inside:
        outside.answers["/"] = moved(f"http://{INSIDE}:{inside.port}/latest/meta-data")
        outside.answers["/file"] = moved("file:///etc/passwd")
        outside.answers["/user"] = moved(f"http://me:secret@{OUTSIDE}:{outside.port}/")
        for path in ("/", "/file", "/user"):
            with pytest.raises(FetchFailure) as refused:
                await fetched(f"http://x.example.org:{outside.port}{path}")
            assert refused.value.code == "FETCH_REFUSED"
        assert inside.asked == []


async def test_redirects_are_followed_five_times() -> None:
    async with listening(OUTSIDE) as host:
        for hop in range(6):
            host.answers[f"/{hop}"] = moved(f"/{hop + 1}")
        host.answers["/6"] = answer(b"there")
        assert (await fetched(f"http://x.example.org:{host.port}/1"))[::2] == ("6", b"there")
        with pytest.raises(FetchFailure, match="redirects more than 5"):
            await fetched(f"http://x.example.org:{host.port}/0")


async def test_a_redirect_off_the_list_is_refused() -> None:
    rules = FetchRules(("docs.example.edu",), True, RULES.networks)
    async with listening(OUTSIDE) as host:
        host.answers["/"] = moved(f"http://elsewhere.org:{host.port}/")
        with pytest.raises(FetchFailure, match="not a host"):
            await fetched(f"http://docs.example.edu:{host.port}/", rules=rules)
    assert len(host.asked) == 1


async def test_what_is_too_large_ends_early() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(1_000):
            writer.write(b"a" * 1_000)

    async with listening(OUTSIDE) as host:
        host.answers |= {"/announced": answer(b"a" * 1_001), "/endless": endless}
        for path in ("/announced", "/endless"):
            with pytest.raises(FetchFailure) as refused:
                await fetched(f"http://x.example.org:{host.port}{path}")
            assert refused.value.code == "TOO_LARGE"


async def test_a_compressed_answer_is_refused() -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/"] = answer(b"bomb", "Content-Encoding: gzip")
        with pytest.raises(FetchFailure, match="compressed"):
            await fetched(f"http://x.example.org:{host.port}/")


async def test_a_host_that_holds_the_line_is_given_up() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na")
        await writer.drain()
        await asyncio.sleep(5)

    async with listening(OUTSIDE) as host:
        host.answers["/"] = silent
        with pytest.raises(FetchFailure, match="longer") as refused:
            await fetched(f"http://x.example.org:{host.port}/", seconds=0.5)
        assert refused.value.again


@pytest.mark.parametrize(("status", "again"), [("404 No", False), ("503 Later", True)])
async def test_a_status_is_a_reason(status: str, again: bool) -> None:
    async with listening(OUTSIDE) as host:
        host.answers["/"] = answer(b"", status=status)
        with pytest.raises(FetchFailure, match=status[:3]) as refused:
            await fetched(f"http://x.example.org:{host.port}/")
        assert refused.value.again is again


async def test_what_is_not_there_may_come_later() -> None:
    async def nowhere(host: str, port: int) -> Sequence[str]:
        raise OSError("no such host")

    fetcher = GuardedFetcher(RULES, resolve=nowhere)
    with pytest.raises(FetchFailure, match="no host") as refused:
        async with fetcher.fetch("http://x.example.org/", 10):
            pass
    assert refused.value.again
    with pytest.raises(FetchFailure, match="did not answer"):
        await fetched("http://x.example.org:9/")
