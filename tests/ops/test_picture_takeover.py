"""A worker is killed while it reads a scan: another goes on in a lease, and pays no page twice."""

import asyncio
from pathlib import Path

from ops.demo import documents as gql
from persistence.database import Database
from tests.agents.documents.written import write_pdf
from tests.agents.models import openai_server as openai
from tests.agents.models import picture_replies as pictures
from tests.agents.models.protocol_server import Reply, Request, silent
from tests.model_world import Place, model_world, working_process
from tests.schema.test_study import node
from tests.world import INSTRUCTOR

SCAN = write_pdf([[] for _ in range(6)], pictures=tuple(range(1, 7))).data
READ = """query($id: ID!) { node(id: $id) { ... on Document { state
  chunks(first: 9) { nodes { page } } } } }"""


async def test_a_killed_workers_scan_is_taken_over_within_a_lease(
    database: Database, database_dsn: str, shared_directory: Path
) -> None:
    place = Place(database_dsn, shared_directory)
    async with (
        openai.openai_server().running() as server,
        model_world(place, server, "openai", alone=True) as made,
    ):
        stuck = asyncio.Event()

        async def until_five(request: Request, reply: Reply) -> None:
            if pictures.shown_to(request).page < 5:
                await pictures.reads(request, reply)
                return
            stuck.set()
            await silent(request, reply)

        server.usual = until_five
        instructor = await made.world.client(INSTRUCTOR)
        async with working_process(made.settings) as first:
            file = ("scan.pdf", SCAN, "application/pdf")
            key = (await instructor.upload(gql.UPLOAD, file, courseId=made.world.course_id))["id"]
            async with asyncio.timeout(60):
                await stuck.wait()
                connection = await database.direct()
                try:
                    while await connection.fetchval("SELECT count(*) FROM model_call") < 4:  # noqa: ASYNC110 - another process's doing
                        await asyncio.sleep(0.02)
                finally:
                    await connection.close()
            first.kill()
            await first.wait()
        server.usual = pictures.reads
        server.requests.clear()
        async with working_process(made.settings), asyncio.timeout(90):
            while (found := await node(instructor, READ, key))["state"] != "READY":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert [chunk["page"] for chunk in found["chunks"]["nodes"]] == [1, 2, 3, 4, 5, 6]
        assert pictures.pages_sent(server) == [5, 6]
