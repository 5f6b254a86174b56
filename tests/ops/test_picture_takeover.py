"""A worker is killed while it reads a scan: another goes on in a lease, and pays no page twice."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager

from ops.demo import documents as gql
from ops.processes import serving
from ops.wiring import Resources
from tests.agents.documents.written import write_pdf
from tests.agents.models import openai_server as openai
from tests.agents.models import picture_replies as pictures
from tests.agents.models.protocol_server import ProtocolServer, Reply, Request, silent
from tests.model_world import PRICES
from tests.schema.test_study import node
from tests.worker_process import worker_process
from tests.world import ADMIN, APPROVE, INSTRUCTOR, make_world

SCAN = write_pdf([[] for _ in range(6)], pictures=tuple(range(1, 7))).data
READ = """query($id: ID!) { node(id: $id) { ... on Document { state
  chunks(first: 9) { nodes { page } } } } }"""
LEASE = 5


def worker(
    resources: Resources, server: ProtocolServer
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`assay worker` whose pictures the server reads."""
    name = f"openai:q@{server.address}/v1"
    return worker_process(
        resources.settings,
        resources.database.direct_dsn,
        ASSAY_LEASE_SECONDS=str(LEASE),
        ASSAY_MODELS=json.dumps([{"name": name, "prices": PRICES}]),
        ASSAY_MODEL_SERVER_KEY=openai.KEY,
        ASSAY_PICTURE_MODELS=name,
    )


async def test_a_killed_workers_scan_is_taken_over_within_a_lease(resources: Resources) -> None:
    async with (
        serving(resources) as base_url,
        make_world(resources, base_url) as world,
        openai.openai_server().running() as server,
    ):
        stuck = asyncio.Event()

        async def until_five(request: Request, reply: Reply) -> None:
            if pictures.shown_to(request).page < 5:
                await pictures.reads(request, reply)
                return
            stuck.set()
            await silent(request, reply)

        server.usual = until_five
        admin, instructor = await world.client(ADMIN), await world.client(INSTRUCTOR)
        provider = f"openai@{server.address}/v1"
        await admin.change(APPROVE, provider=provider, region="EU", reason="Contract")
        async with worker(resources, server) as first:
            file = ("scan.pdf", SCAN, "application/pdf")
            key = (await instructor.upload(gql.UPLOAD, file, courseId=world.course_id))["id"]
            async with asyncio.timeout(60):
                await stuck.wait()
                connection = await resources.database.direct()
                try:
                    while await connection.fetchval("SELECT count(*) FROM model_call") < 4:  # noqa: ASYNC110 - another process's doing
                        await asyncio.sleep(0.02)
                finally:
                    await connection.close()
            first.kill()
            await first.wait()
        server.usual = pictures.reads
        server.requests.clear()
        async with worker(resources, server), asyncio.timeout(90):
            while (found := await node(instructor, READ, key))["state"] != "READY":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert [chunk["page"] for chunk in found["chunks"]["nodes"]] == [1, 2, 3, 4, 5, 6]
        assert pictures.pages_sent(server) == [5, 6]
