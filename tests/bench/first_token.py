"""From the question to its first words at the socket, and a worker that writes a hundred answers.

Run: python -m tests.bench.first_token [--asks 30] [--answers 100]
The model is a server in a process of its own that speaks OpenAI's protocol and answers at once. For
the first words the worker is another process, as in production; their baseline is the time of
`{ viewer { name } }` by the same client. Then a worker in this process finds all its questions
asked, and nobody reads along.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.processes import quiet_collector, serving, working
from ops.settings import load_settings
from ops.wiring import Resources, open_resources
from tests import study_api as api
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.bench.gateway import longest_stall
from tests.model_world import PRICES, by_openai
from tests.schema.test_study import uploaded
from tests.study_world import MATERIAL
from tests.worker_process import model_environment, worker_process
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


def worker(resources: Resources) -> AbstractAsyncContextManager[Any]:
    """`assay worker`."""
    settings = resources.settings
    dsn = resources.database.direct_dsn
    return worker_process(settings, dsn, **model_environment(settings))


@asynccontextmanager
async def world(address: str, answers: int) -> AsyncIterator[tuple[World, list[Client]]]:
    """A course with material and students in it, and a worker elsewhere; its own has so many
    seats."""
    name = f"openai:q@{address}/v1"
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = load_settings(
            data_dir=directory,
            port=0,
            models=[{"name": name, "prices": PRICES, "region": "EU"}],
            study_models=name,
            model_server_key=gemini.KEY,
            study_concurrency=answers,
        )
        resources = await stack.enter_async_context(open_resources(settings))
        url = await stack.enter_async_context(serving(resources))
        made = await stack.enter_async_context(make_world(resources, url))
        admin = await made.client(ADMIN)
        await admin.change(APPROVE, provider=f"openai@{address}/v1", region="EU", reason="Bench")
        async with worker(resources):
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


async def asked(client: Client, course_id: str) -> None:
    """A question, for whichever worker comes."""
    session = await api.opened(client, course_id)
    await client.change(api.ASK, sessionId=session, text=QUESTION)


async def all_answered(resources: Resources) -> None:
    """Returns once no message waits. Raises AssertionError when one was not answered."""
    while True:
        await asyncio.sleep(0.5)
        async with resources.database.read() as connection:
            rows = await connection.execute(text("SELECT DISTINCT state FROM message"))
            states = {row.state for row in rows if row.state is not None}
        if states <= api.SETTLED:
            assert states == {"COMPLETE"}, states
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
    """Prints the time to the first words."""
    async with world(address, 4) as (made, students), worker(made.resources):
        course_id = str(made.course_id)
        await first_words(students[0], course_id)
        bare = p50([await timed(students[0]) for _ in range(asks)])
        words = [await first_words(students[at % STUDENTS], course_id) for at in range(asks)]
    sys.stdout.write(
        f"first words at the socket: p50 {p50(words):.0f} ms, longest {max(words) * 1e3:.0f} ms of"
        f" {asks}; a small query {bare:.1f} ms: {p50(words) / bare:.1f}x\n"
    )
    sys.stdout.flush()


async def all_at_once(address: str, answers: int) -> None:
    """Prints how long the loop of a worker stood still."""
    async with world(address, answers) as (made, students):
        resources = made.resources
        for at in range(answers):
            await asked(students[at % STUDENTS], str(made.course_id))

        async def work(_stream: bool) -> None:
            async with working(resources):
                await all_answered(resources)

        await resources.prepare()  # as a worker does before its first job
        quiet_collector()
        stall, took = await longest_stall(work, 1)
    sys.stdout.write(
        f"{answers} answers at once in one worker: longest stall {stall * 1e3:.0f} ms,"
        f" {took:.1f} s\n"
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
