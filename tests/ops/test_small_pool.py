"""Many more answers at once than database connections: all are written, each at its first try."""

import asyncio
from pathlib import Path

from persistence.database import Database
from tests import study_api as api
from tests.agents.models.openai_server import openai_server
from tests.model_world import Place, model_world, working_process
from tests.world import STUDENTS

ANSWERS, CONNECTIONS = 60, 2
QUESTION = "What happens when the time to live of a packet reaches zero?"
ENDED = "SELECT state, tries FROM message WHERE author = 'TUTOR' AND state = ANY($1)"


async def test_many_answers_share_few_connections(
    database: Database, database_dsn: str, shared_directory: Path
) -> None:
    place = Place(database_dsn, shared_directory)
    few = {"ASSAY_STUDY_CONCURRENCY": str(ANSWERS), "ASSAY_POOL_SIZE": str(CONNECTIONS)}
    async with (
        openai_server().running() as server,
        model_world(place, server, "openai", alone=True) as made,
    ):
        students = [await made.world.client(email) for email in STUDENTS]
        for number in range(ANSWERS):
            student = students[number % len(students)]
            session = await api.opened(student, made.world.course_id)
            await student.change(api.ASK, sessionId=session, text=QUESTION)
        connection = await database.direct()
        async with working_process(made.settings, **few), asyncio.timeout(120):
            while True:
                ended = await connection.fetch(ENDED, api.SETTLED)
                if len(ended) == ANSWERS:
                    break
                await asyncio.sleep(0.2)
        await connection.close()
    assert {tuple(row) for row in ended} == {("ABSTAINED", 1)}, "without material"
