"""What the gateway adds to a provider's SDK, per call and per streamed token.

`python -m tests.bench.gateway [--provider gemini|openai] [--calls N] [--tokens N] [--streams N]`
prints CPU and wall time of this process as ratios to the SDK's own client, asked the same over the
same transport of a local server, and how long the event loop stood still with many streams. The
server runs in a process of its own; the account book is in memory, so PostgreSQL is not measured.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
from autogen_core.models import UserMessage
from google import genai
from google.genai import types
from openai import AsyncOpenAI

from agents.models.catalogue import Catalogue, OfferedModel, Price
from agents.models.gateway import Gateway, GatewayClient, GatewayPolicy
from agents.models.names import model_name
from agents.models.ports import Attempt
from agents.models.provider_client import CallOptions, http_client
from agents.models.providers import Keys, Providers
from agents.models.tokens import CountedUsage
from agents.ports import Account
from observability.metrics import Metrics
from ops.processes import quiet_collector
from persistence.limits import MemoryLimits
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai

ASKED: Final = [UserMessage(content="What does a router do?", source="ann")]
WORD: Final = "token "


@dataclass
class NoBook:
    """Admits everything and remembers nothing."""

    async def reserve(self, attempt: Attempt, most_micros: int) -> UUID:
        return attempt.account.owner_id if most_micros < 0 else uuid4()

    async def settle(
        self,
        reserved: UUID,
        *,
        outcome: str,
        usage: CountedUsage,
        cost_micros: int,
        milliseconds: int,
    ) -> None:
        pass

    async def provider_approved(
        self,
        organization_id: UUID,
        provider: str,
        region: str | None,
    ) -> bool:
        return bool(organization_id and provider and region is None)


Ask = Callable[[bool], Awaitable[None]]


def bare_gemini(http: httpx2.AsyncClient, address: str) -> Ask:
    """google-genai alone."""
    options = types.HttpOptions(
        base_url=address, api_version="v1beta", httpx_async_client=http, timeout=60_000
    )
    client = genai.Client(api_key=gemini.KEY, http_options=options)
    given: Any = {"model": "gemini-3-flash", "contents": ASKED[0].content}

    async def ask(stream: bool) -> None:
        if stream:
            async for _ in await client.aio.models.generate_content_stream(**given):
                pass
        else:
            await client.aio.models.generate_content(**given)

    return ask


def bare_openai(http: httpx2.AsyncClient, address: str) -> Ask:
    """openai alone; always a stream, as the server speaks no other."""
    client = AsyncOpenAI(
        api_key=openai.KEY, base_url=f"{address}/v1", http_client=http, max_retries=0
    )

    async def ask(_stream: bool) -> None:
        stream = await client.chat.completions.create(
            model="q", messages=[{"role": "user", "content": str(ASKED[0].content)}], stream=True
        )
        async for _ in stream:
            pass

    return ask


def through(client: GatewayClient) -> Ask:
    """The same by the gateway."""

    async def ask(stream: bool) -> None:
        if stream:
            async for _ in client.create_stream(ASKED):
                pass
        else:
            await client.create(ASKED)

    return ask


async def measured(ask: Ask, times: int, *, stream: bool) -> tuple[float, float]:
    """CPU and wall seconds of so many calls, one after another, the first not counted."""
    await ask(stream)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        await ask(stream)
    return time.process_time() - cpu, time.perf_counter() - wall


async def longest_stall(ask: Ask, streams: int) -> tuple[float, float]:
    """The longest time the loop stood still beside so many streams, and how long they took."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before - 0.005)

    watching = asyncio.ensure_future(watch())
    began = time.perf_counter()
    await asyncio.gather(*(ask(True) for _ in range(streams)))
    took = time.perf_counter() - began
    watching.cancel()
    return longest, took


async def run(provider: str, address: str, calls: int, tokens: int, streams: int) -> None:
    """Measures and prints."""
    at = address if provider == "gemini" else f"{address}/v1"
    name = model_name(f"{'gemini:gemini-3-flash' if provider == 'gemini' else 'openai:q'}@{at}")
    providers = Providers(Keys(servers=gemini.KEY), GatewayPolicy(concurrency=500))
    price = Price.model_validate({"from": "2025-01-01", "input": 1, "output": 1})
    book = NoBook()
    gateway = Gateway(
        make=providers.client,
        catalogue=Catalogue([OfferedModel(name=str(name), prices=(price,))]),
        book=book,
        limits=MemoryLimits(),
        approval=book,
        metrics=Metrics(with_process=False),
        policy=providers.policy,
    )
    ours = through(gateway.client((name,), Account(uuid4(), None, uuid4()), "tutor"))
    async with http_client(CallOptions(), 500) as http:
        bare = (bare_gemini if provider == "gemini" else bare_openai)(http, address)
        for stream in (False, True):
            sdk, sdk_wall = await measured(bare, calls, stream=stream)
            gated, gated_wall = await measured(ours, calls, stream=stream)
            what = f"stream of {tokens} tokens" if stream else "whole answer"
            print(  # noqa: T201
                f"{provider} {what}: CPU {sdk / calls * 1e3:.2f} -> {gated / calls * 1e3:.2f} ms "
                f"({gated / sdk:.2f}x), wall {gated_wall / sdk_wall:.2f}x"
            )
            if stream:
                per = (gated - sdk) / calls / tokens * 1e3
                print(  # noqa: T201
                    f"  per token: {gated / calls / tokens * 1e3:.3f} ms CPU, of it the gateway "
                    f"{per:.3f} ms"
                )
        quiet_collector()  # as in every process of the product
        for label, ask in (("SDK", bare), ("gateway", ours)):
            stall, took = await longest_stall(ask, streams)
            print(  # noqa: T201
                f"{provider} {streams} streams at once, {label}: longest stall "
                f"{stall * 1e3:.0f} ms, {took:.1f} s"
            )
    await gateway.close()
    await providers.close()


async def serve(provider: str, tokens: int) -> None:
    """The server; prints its address and waits to be ended."""
    module: Any = gemini if provider == "gemini" else openai
    server = gemini.gemini_server() if provider == "gemini" else openai.openai_server()
    server.usual = module.says(WORD * tokens, pieces=tokens)
    async with server.running():
        print(json.dumps(server.address), flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--provider", choices=("gemini", "openai"), default="gemini")
    parser.add_argument("--calls", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.provider, given.tokens))
        return
    command = [sys.executable, "-m", "tests.bench.gateway", "--serve"]
    command += ["--provider", given.provider, "--tokens", str(given.tokens)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())
        asyncio.run(run(given.provider, address, given.calls, given.tokens, given.streams))
        assert server.stdin is not None
        server.stdin.close()


if __name__ == "__main__":
    main()
