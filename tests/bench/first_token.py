"""From the question to its first words at the socket, and a worker with a hundred answers at once.

Run: python -m tests.bench.first_token [--asks 30] [--answers 100]
The model is a server in a process of its own that speaks OpenAI's protocol and answers at once. For
the first words the worker is another process, as in production; for many answers it is this one,
with the api and the clients. The baseline is the time of `{ viewer { name } }` by the same client.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import serving, working
from ops.settings import Settings, load_settings
from ops.wiring import Resources, open_resources
from tests import study_api as api
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.bench.gateway import longest_stall
from tests.model_world import PRICES, by_openai
from tests.schema.test_study import uploaded
from tests.study_world import MATERIAL
from tests.world import ADMIN, APPROVE, World, make_world

QUESTION = "What happens when the time to live of a packet reaches zero?"
STUDENTS = 20


async def serve() -> None:
    """The model; prints its address and waits to be ended."""
    server = openai.openai_server()
    server.usual = by_openai
    async with server.running():
        sys.stdout.write(server.address + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def worker(settings: Settings, resources: Resources) -> AsyncIterator[None]:
    """`assay worker`."""
    models = [one.model_dump(mode="json", by_alias=True) for one in settings.models]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.data_dir),
        "ASSAY_DATABASE_URL": resources.database.direct_dsn,
        "ASSAY_DATA_DIR": str(settings.data_dir),
        "ASSAY_MODELS": json.dumps(models),
        "ASSAY_STUDY_MODELS": settings.study_models,
        "ASSAY_MODEL_SERVER_KEY": gemini.KEY,
        "ASSAY_LOG_LEVEL": "WARNING",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from ops.cli import app; app()", "worker"), env=environment
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def world(address: str, answers: int) -> AsyncIterator[tuple[World, list[Client]]]:
    """A course with material, students in it, and a worker: here, or for no answers elsewhere."""
    name = f"openai:q@{address}/v1"
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = load_settings(
            data_dir=directory,
            port=0,
            models=[{"name": name, "prices": PRICES, "region": "EU"}],
            study_models=name,
            model_server_key=gemini.KEY,
            study_concurrency=max(1, answers),
            pool_size=40,
        )
        resources = await stack.enter_async_context(open_resources(settings))
        if answers:
            await stack.enter_async_context(working(resources))
        else:
            await stack.enter_async_context(worker(settings, resources))
        url = await stack.enter_async_context(serving(resources))
        made = await stack.enter_async_context(make_world(resources, url))
        admin = await made.client(ADMIN)
        await admin.change(APPROVE, provider=f"openai@{address}/v1", region="EU", reason="Bench")
        await uploaded(made, "routing.md", MATERIAL["routing.md"].encode())
        emails = [f"student{number}@example.org" for number in range(STUDENTS)]
        people = [{"email": email, "name": email.split("@")[0]} for email in emails]
        await admin.change(gql.CREATE_USERS, users=people)
        await admin.change(gql.ENROL, courseId=made.course_id, emails=emails)
        yield made, [await made.client(email) for email in emails]


async def first_words(client: Client, course_id: str) -> float:
    """Seconds from a question to its first words; returns when the answer is whole."""
    session = await api.opened(client, course_id)
    first = None
    async with client.follow(api.FOLLOW, {"sessionId": session}) as events:
        await anext(events)
        started = time.perf_counter()
        await client.change(api.ASK, sessionId=session, text=QUESTION)
        async for event in events:
            if first is None and event["chunk"] and event["chunk"]["text"]:
                first = time.perf_counter() - started
            if event["kind"] == "MESSAGE_STATE" and event["message"]["state"] in api.SETTLED:
                assert event["message"]["state"] == "COMPLETE", event
                break
    assert first is not None
    return first


async def answered(client: Client, course_id: str) -> None:
    """A question, asked and answered, without a socket."""
    session = await api.opened(client, course_id)
    asked = await client.change(api.ASK, sessionId=session, text=QUESTION)
    while True:
        await asyncio.sleep(1)  # a hundred clients that ask all the time would be what is measured
        state = (await api.node(client, api.MESSAGE, asked["id"]))["state"]
        if state in api.SETTLED:
            assert state == "COMPLETE"
            return


async def run(address: str, asks: int, answers: int) -> None:
    await one_at_a_time(address, asks)
    await all_at_once(address, answers)


async def timed(client: Client) -> float:
    started = time.perf_counter()
    await client.ask("{ viewer { name } }")
    return time.perf_counter() - started


def p50(values: list[float]) -> float:
    """Milliseconds."""
    return sorted(values)[len(values) // 2] * 1e3


async def one_at_a_time(address: str, asks: int) -> None:
    async with world(address, 0) as (made, students):
        course_id = str(made.course_id)
        await first_words(students[0], course_id)
        bare = p50([await timed(students[0]) for _ in range(asks)])
        words = [await first_words(students[at % STUDENTS], course_id) for at in range(asks)]
        late = max(words) * 1e3
        sys.stdout.write(
            f"first words at the socket: p50 {p50(words):.0f} ms, longest {late:.0f} ms of {asks};"
            f" a small query {bare:.1f} ms: {p50(words) / bare:.1f}x\n"
        )
        sys.stdout.flush()


async def all_at_once(address: str, answers: int) -> None:
    async with world(address, answers) as (made, students):
        course_id = str(made.course_id)
        await answered(students[0], course_id)
        turn = iter(range(answers))

        async def one(_stream: bool) -> None:
            await answered(students[next(turn) % STUDENTS], course_id)

        stall, took = await longest_stall(one, answers)
        sys.stdout.write(
            f"{answers} answers at once, api, worker and clients in one process: longest stall"
            f" {stall * 1e3:.0f} ms, {took:.1f} s\n"
        )


def main() -> None:
    """Starts the model's server and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asks", type=int, default=30)
    parser.add_argument("--answers", type=int, default=100)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given: Any = parser.parse_args()
    if given.serve:
        asyncio.run(serve())
        return
    command = [sys.executable, "-m", "tests.bench.first_token", "--serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        asyncio.run(run(server.stdout.readline().strip(), given.asks, given.answers))
        server.communicate("")


if __name__ == "__main__":
    main()
