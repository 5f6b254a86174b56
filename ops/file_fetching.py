"""Fetches files over HTTP, and never from inside: the address that was checked is the one used."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote

import httpx

from resolvers.fetching import (
    MOST_REDIRECTS,
    PORTS,
    FetchCode,
    FetchedFile,
    FetchFailure,
    FetchRules,
    address_allowed,
    check_target,
    refused,
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

TIMEOUT = httpx.Timeout(15.0, connect=5.0)
WHOLE_SECONDS = 120.0
_REDIRECTS = {301, 302, 303, 307, 308}
_LATER = {408, 425, 429, 500, 502, 503, 504}


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """The IP addresses of a host, as the system resolves it. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedFetcher:
    """Implements `resolvers.fetching.FileFetcher`.

    The name is resolved here, every address it has is checked, and the connection is made to one of
    these; TLS is still checked against the name. Redirects are followed the same way.
    """

    def __init__(
        self,
        rules: FetchRules,
        *,
        resolve: Resolve = resolve_host,
        whole_seconds: float = WHOLE_SECONDS,
    ) -> None:
        self._rules, self._resolve, self._whole_seconds = rules, resolve, whole_seconds

    @asynccontextmanager
    async def fetch(self, url: str, most: int) -> AsyncGenerator[FetchedFile]:
        """The file at an address. Raises `FetchFailure`."""
        try:
            async with (
                asyncio.timeout(self._whole_seconds),
                httpx.AsyncClient(
                    verify=ssl.create_default_context(),
                    trust_env=False,
                    timeout=TIMEOUT,
                    headers={"User-Agent": "Assay", "Accept-Encoding": "identity"},
                ) as client,
            ):
                target, response = await self._reached(client, _parsed(url))
                try:
                    _check_answer(response, most)
                    name = unquote(target.path.rpartition("/")[2])
                    media_type = response.headers.get("content-type")
                    yield FetchedFile(name, media_type, _content(response, most))
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise _failed(f"It took longer than {self._whole_seconds:g} s.", again=True) from error
        except httpx.HTTPError as error:
            raise _failed(
                f"The host did not answer ({type(error).__name__}).", again=True
            ) from error

    async def _reached(
        self, client: httpx.AsyncClient, target: httpx.URL
    ) -> tuple[httpx.URL, httpx.Response]:
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._ask(client, target)
            if response.status_code not in _REDIRECTS:
                return target, response
            location = response.headers.get("location", "")
            await response.aclose()
            target = _parsed(location, target)
        raise _failed(f"It redirects more than {MOST_REDIRECTS} times.")

    async def _ask(self, client: httpx.AsyncClient, target: httpx.URL) -> httpx.Response:
        host = target.raw_host.decode("ascii").strip("[]")
        check_target(target.scheme, host, target.port, bool(target.userinfo), self._rules)
        address = await self._address(host, target.port or PORTS[target.scheme])
        request = client.build_request(
            "GET",
            target.copy_with(host=address, fragment=None),
            headers={"Host": target.netloc.decode("ascii")},
            extensions={"sni_hostname": host},
        )
        try:
            return await client.send(request, stream=True, follow_redirects=False)
        except ValueError as error:  # the client looks at where it redirects to, although unasked
            raise refused("It redirects to what is not an address.") from error

    async def _address(self, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise _failed(f"There is no host {host[:100]}.", again=True) from error
        if not addresses:
            raise _failed(f"There is no host {host[:100]}.", again=True)
        for address in addresses:
            if not address_allowed(address, self._rules.networks):
                raise refused(f"{host[:100]} leads to an address that is not public.")
        return addresses[0]


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        target = httpx.URL(url) if base is None else base.join(url)
        named = bool(target.host)  # decodes it, which fails for what is no internationalised name
    except (httpx.InvalidURL, ValueError, TypeError):
        raise refused("This is not an address.") from None
    if not named:
        raise refused("This is not an address.")
    return target


def _check_answer(response: httpx.Response, most: int) -> None:
    if response.status_code != 200:
        raise _failed(
            f"The host answered with status {response.status_code}.",
            again=response.status_code in _LATER,
        )
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _failed("The host sends the file compressed, although it was asked not to.")
    announced = response.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)


async def _content(response: httpx.Response, most: int) -> AsyncIterator[bytes]:
    size = 0
    try:
        async for piece in response.aiter_raw():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            yield piece
    except httpx.HTTPError as error:
        raise _failed("The file broke off.", again=True) from error


def _too_large(most: int) -> FetchFailure:
    return FetchFailure(
        FetchCode.TOO_LARGE,
        f"The file is larger than {most:,} bytes.",
        "Split the document, for example by chapter.",
    )


def _failed(message: str, *, again: bool = False) -> FetchFailure:
    return FetchFailure(
        FetchCode.FETCH_FAILED,
        message,
        "Check the address in a browser, or download the file and upload it.",
        again=again,
    )
