"""Scanned documents whose provider is down, whose worker dies, or which are deleted meanwhile."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from agents.models.catalogue import Catalogue, OfferedModel
from agents.models.gateway import Gateway, GatewayPolicy
from agents.models.names import chain
from agents.models.providers import Keys, Providers
from agents.seating import Seating
from observability.metrics import Metrics
from persistence import usage
from persistence.limits import MemoryLimits
from persistence.tables.documents import DocumentRow
from resolvers import documents
from resolvers.access import Permission
from resolvers.documents_work import ingest_document, sweep_documents
from resolvers.global_ids import global_id
from resolvers.providers import DatabaseApproval
from resolvers.usage import DatabaseUsage
from resolvers.work import WorkResources
from tests.agents.documents.written import write_pdf
from tests.agents.models import openai_server as openai
from tests.agents.models import picture_replies as pictures
from tests.agents.models.protocol_server import ProtocolServer, Reply, Request, silent
from tests.resolvers.test_documents_work import AT_ONCE, chunks, document, state
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

SCAN = write_pdf([[] for _ in range(6)], pictures=tuple(range(1, 7))).data
HALF = write_pdf([["Some text."], []], pictures=(2,)).data


@dataclass(frozen=True)
class Scanning:
    """The course, with a model of a server that reads its pictures."""

    world: StudyWorld
    server: ProtocolServer
    work: WorkResources

    async def read(self, key: UUID) -> DocumentRow:
        """One try; the document as it is then."""
        await ingest_document(self.work, key)
        row = await document(self.world, key)
        assert row is not None
        return row


@pytest.fixture
async def scanning(study_world: StudyWorld) -> AsyncIterator[Scanning]:
    async with openai.openai_server().running() as server:
        server.usual = pictures.reads
        name = f"openai:q@{server.address}/v1"
        policy = GatewayPolicy(seconds=3.0, tries=1)
        providers = Providers(Keys(servers=openai.KEY), policy, idle_seconds=5)
        prices = [{"from": "2025-01-01", "input": 1_000_000, "output": 1_000_000}]
        gateway = Gateway(
            make=providers.client,
            catalogue=Catalogue([OfferedModel(name=name, prices=prices)]),
            book=DatabaseUsage(study_world.database),
            limits=MemoryLimits(),
            approval=DatabaseApproval(study_world.database),
            metrics=Metrics(with_process=False),
            policy=policy,
        )
        seating = Seating(gateway, {}, {}, {"picture_reader": chain(name)}, 2_000_000)
        await study_world.approve(f"openai@{server.address}/v1")
        work = replace(study_world.work(), picture_reader=seating.picture_reader)
        yield Scanning(study_world, server, work)
        await gateway.close()
        await providers.close()


async def test_a_provider_that_is_down_is_asked_again_and_no_page_is_paid_twice(
    scanning: Scanning,
) -> None:
    key = await scanning.world.upload("scan.pdf", SCAN)
    down = openai.fails(503)

    async def first_pages(request: Request, reply: Reply) -> None:
        page = pictures.shown_to(request).page
        await (pictures.reads if page <= 3 else down)(request, reply)

    scanning.server.usual = first_pages
    assert (await scanning.read(key)).state == "UPLOADED"
    answered = [p for p in pictures.pages_sent(scanning.server) if p <= 3]
    assert answered == [1, 2, 3]
    scanning.server.usual = pictures.reads
    scanning.server.requests.clear()
    assert (await scanning.read(key)).state == "READY"
    assert pictures.pages_sent(scanning.server) == [4, 5, 6]
    assert [c.page for c in await chunks(scanning.world, key)] == [1, 2, 3, 4, 5, 6]
    async with scanning.world.database.read() as connection:
        used = await usage.usages_of(connection, key)
    assert sum(one.cost_micros for one in used) == 6 * 18
    assert all(one.user_id == scanning.world.instructor for one in used)


@pytest.mark.parametrize("fault", [openai.fails(503), silent], ids=["down", "silent"])
async def test_a_provider_that_stays_away_is_a_failure_in_the_end(
    scanning: Scanning, fault: openai.Behaviour
) -> None:
    scanning.server.usual = fault
    key = await scanning.world.upload("scan.pdf", SCAN)
    for expected in ("UPLOADED", "UPLOADED", "FAILED"):
        row = await scanning.read(key)
        assert row.state == expected
    assert row.failure is not None
    assert row.failure["code"] == "MODEL_UNAVAILABLE"
    assert "later" in row.failure["advice"]
    half = await scanning.world.upload("half.pdf", HALF)
    for expected in ("UPLOADED", "UPLOADED", "READY"):
        row = await scanning.read(half)
        assert row.state == expected
    (note,) = row.notes
    assert "page 2 (the model that reads pictures did not answer" in note["message"]


async def test_a_scan_whose_worker_dies_goes_on_where_it_was(scanning: Scanning) -> None:
    """What was answered is kept; only what was in flight is asked again."""
    key = await scanning.world.upload("scan.pdf", SCAN)
    stuck = asyncio.Event()

    async def until_five(request: Request, reply: Reply) -> None:
        if pictures.shown_to(request).page < 5:
            await pictures.reads(request, reply)
            return
        stuck.set()
        await silent(request, reply)

    scanning.server.usual = until_five
    ingest = asyncio.create_task(ingest_document(scanning.work, key))
    async with asyncio.timeout(30):
        await stuck.wait()
    ingest.cancel()
    with suppress(asyncio.CancelledError):
        await ingest
    assert await state(scanning.world, key) == "EXTRACTING"
    await sweep_documents(scanning.work, stuck_after=AT_ONCE)
    scanning.server.usual = pictures.reads
    before = pictures.pages_sent(scanning.server)
    scanning.server.requests.clear()
    assert (await scanning.read(key)).state == "READY"
    again = set(before) & set(pictures.pages_sent(scanning.server))
    assert again <= {5, 6}
    assert len(await chunks(scanning.world, key)) == 6


async def test_of_a_document_that_is_deleted_meanwhile_no_text_stays(scanning: Scanning) -> None:
    world = scanning.world
    key = await world.upload("scan.pdf", SCAN)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: Request, reply: Reply) -> None:
        asked.set()
        await go_on.wait()
        await pictures.reads(request, reply)

    scanning.server.usual = slowly
    ingest = asyncio.create_task(ingest_document(scanning.work, key))
    async with asyncio.timeout(30):
        await asked.wait()
    await world.change(
        world.instructor,
        documents.delete_document,
        Permission.DOCUMENT_WRITE,
        document_id=global_id("Document", key),
    )
    go_on.set()
    await ingest
    assert await state(world, key) == "DELETED"
    connection = await world.database.direct()
    try:
        found = await connection.fetch("SELECT response, cost_micros FROM model_call")
    finally:
        await connection.close()
    assert found
    assert len(scanning.server.requests) == 4  # those that had begun
    assert {row["response"] for row in found} == {""}
    assert {row["cost_micros"] for row in found} == {18}
