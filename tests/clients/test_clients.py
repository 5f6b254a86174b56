"""Stock JavaScript clients take the schema and the server as they are."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.demo import documents as gql
from tests.world import INSTRUCTOR, STUDENTS, World

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    """Node with the client packages installed; skips where there is none or no registry."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed: the JavaScript clients were not tried")
    marker = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if not marker.exists() or marker.stat().st_mtime < lock.stat().st_mtime:
        installed = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if installed.returncode:
            pytest.skip(f"npm could not install the clients: {installed.stderr[-300:]}")
    return found


async def run(node: str, script: str, **values: str) -> str:
    """What the script prints. The environment is scrubbed of proxies."""
    process = await asyncio.create_subprocess_exec(
        node,
        script,
        json.dumps(values),
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


@pytest.fixture
async def graded(world: World) -> dict[str, str]:
    """A finished grading run, and what a client needs to ask about it."""
    assignment_id, question_id, _ = await world.assignment()
    for email in STUDENTS:
        await world.submit(email, assignment_id, question_id, f"{email} forwards to the next hop.")
    instructor = await world.client(INSTRUCTOR)
    started = await instructor.change(gql.START_RUN, assignmentId=assignment_id)
    run_id = started["id"]
    query = "subscription($r: ID!) { gradingRun(runId: $r) { seq } }"
    async with asyncio.timeout(60), instructor.follow(query, {"r": run_id}) as events:
        async for _event in events:
            pass
    data = await instructor.ask(gql.GRADES, {"assignmentId": assignment_id})
    return {
        "url": str(world.http.base_url).rstrip("/") + "/graphql",
        "token": await world.token(INSTRUCTOR),
        "assignmentId": assignment_id,
        "runId": run_id,
        "gradeId": data["node"]["submissions"]["nodes"][0]["grade"]["id"],
    }


async def test_relay_compiler_and_codegen_take_the_operations(node: str) -> None:
    printed = await run(node, "compile.mjs")
    assert "relay-compiler: 3 artifacts" in printed
    assert "graphql-codegen:" in printed


async def test_apollo_client_runs_the_operations(node: str, graded: dict[str, str]) -> None:
    got: dict[str, Any] = json.loads(await run(node, "apollo.mjs", **graded))
    assert got["submissions"] == 3
    assert (got["userErrors"], got["decidedBy"]) == ([], "HUMAN")
    assert got["state"] == "COMPLETED"
    assert got["events"] == list(range(len(got["events"])))


async def test_a_cut_socket_loses_and_repeats_nothing(node: str, graded: dict[str, str]) -> None:
    got: dict[str, Any] = json.loads(await run(node, "resume.mjs", **graded))
    assert got["cuts"] == 2
    last = max(got["exact"])
    assert last > 10
    assert got["exact"] == list(range(1, last + 1))
    assert set(got["stock"]) == set(range(last + 1))
    assert set(got["stockTasks"].values()) <= {"PROPOSED", "NEEDS_HUMAN"}
    assert got["stockState"] == "COMPLETED"
