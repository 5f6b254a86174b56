"""Another embedding model, online: nothing is missing, mixed or paid twice, whatever is cut."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from agents.models.embedders.choice import Access, EmbeddingModels
from agents.ports import AgentFailure, EmbeddingUnavailable
from ops.reindex import abandon, estimate, give_up_or_drop, reindex
from persistence import embeddings
from persistence.cache import MemoryCache
from persistence.embeddings import PaidVectors
from resolvers import documents
from resolvers.access import Permission
from resolvers.documents_work import ingest_document
from resolvers.global_ids import global_id
from resolvers.refusals import Refusal
from resolvers.retrieval import CourseSearch
from resolvers.work import WorkResources
from tests.embedding_server import EmbeddingServer, embedding_server
from tests.resolvers.test_documents_replace import renew
from tests.study_world import StudyWorld, embedder, study_world  # noqa: F401 - fixtures

NEW = "openai:mine@8"
QUESTION = "What happens when the time to live of a packet reaches zero?"


@dataclass(frozen=True)
class Site:
    """A course with material, and a provider of embeddings beside the built-in model."""

    world: StudyWorld
    server: EmbeddingServer
    models: EmbeddingModels
    work: WorkResources

    async def count(self, model: str) -> int:
        async with self.world.database.read() as connection:
            sql = text("SELECT count(*) FROM chunk_embedding WHERE model = :model")
            return int(await connection.scalar(sql, {"model": model}) or 0)

    async def states(self) -> dict[str, str]:
        async with self.world.database.read() as connection:
            rows = await connection.execute(text("SELECT model, state FROM embedding_index"))
            return {row.model: row.state for row in rows}

    async def found(self) -> list[str]:
        world = self.world
        search = CourseSearch(world.database, self.models, world.organization_id, world.course_id)
        return [passage.document_title for passage in await search.search(QUESTION, 10)]

    async def add(self, name: str, content: str) -> None:
        await ingest_document(self.work, await self.world.upload(name, content))


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


@pytest.fixture
async def site(study_world: StudyWorld, server: EmbeddingServer) -> AsyncIterator[Site]:
    await study_world.ingest()
    models = EmbeddingModels(
        study_world.embedder.name,
        study_world.embedder,
        Access(openai_url=f"{server.url}/v1"),
        MemoryCache(),
        PaidVectors(study_world.database),
    )
    work = study_world.work()
    object.__setattr__(work, "embedders", models)
    await study_world.approve(models.provider(NEW))
    yield Site(study_world, server, models, work)
    await models.close()


def quiet(_done: int, _total: int) -> None:
    """Shows nothing."""


async def test_a_new_model_serves_when_its_index_is_whole(site: Site) -> None:
    database, old = site.world.database, site.world.embedder.name
    planned = await estimate(database, NEW, price=2.0)
    assert planned.chunks == await site.count(old) == 3
    assert planned.cost == pytest.approx(2 * planned.tokens / 1_000_000)
    assert "unknown price" in str(await estimate(database, NEW))
    told: list[tuple[int, int]] = []
    assert await reindex(database, site.models, NEW, lambda *at: told.append(at)) == old
    assert told == [(3, 3)]
    assert await site.states() == {old: "RETIRED", NEW: "READY"}
    assert await site.count(NEW) == 3
    assert sorted(set(await site.found())) == ["routing", "transport"]
    assert site.server.texts[-1] == [QUESTION]  # the search asked the new model
    await site.add("late.md", "A late page about packets.")
    assert (await site.count(old), await site.count(NEW)) == (3, 4)
    with pytest.raises(Refusal, match="serves already"):
        await reindex(database, site.models, NEW, quiet)
    assert "3 vectors" in await give_up_or_drop(database, dropping=True)
    assert await site.count(old) == 0
    assert len(await site.found()) == 4


class Killed(Exception):
    """The process ends here."""


async def test_a_build_that_was_killed_goes_on_and_pays_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, old = site.world.database, site.world.embedder.name
    monkeypatch.setattr("ops.reindex.BATCH_CHUNKS", 1)

    def killed(done: int, _total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        await reindex(database, site.models, NEW, killed)
    assert await site.states() == {old: "READY", NEW: "BUILDING"}
    assert len(set(await site.found())) == 2  # by the old one
    await site.add("meanwhile.md", "A page that came meanwhile.")
    assert (await site.count(old), await site.count(NEW)) == (4, 3)  # it has both
    with pytest.raises(Refusal, match="another model"):
        await reindex(database, site.models, "openai:other@8", quiet)
    assert await reindex(database, site.models, NEW, quiet) == old
    assert await site.count(NEW) == 4
    sent = [passage for batch in site.server.texts for passage in batch if passage != "ready"]
    assert len(sent) == len(set(sent)) == 4


async def test_an_ingest_under_way_gets_the_vectors_of_a_build_that_begins(site: Site) -> None:
    database = site.world.database
    built_in = site.world.embedder

    class BeginsMeanwhile:
        async def embed(self, texts: Any) -> Any:
            async with database.transaction() as connection:
                await embeddings.begin_building(connection, NEW)
            return await built_in.embed(texts)

    class Models:
        default = built_in.name

        def provider(self, model: str) -> str:
            return site.models.provider(model)

        def documents(self, model: str) -> Any:
            return BeginsMeanwhile() if model == built_in.name else site.models.documents(model)

    work = site.world.work()
    object.__setattr__(work, "embedders", Models())
    await ingest_document(work, await site.world.upload("x.md", "About packets."))
    assert await site.count(NEW) == 1


async def test_a_build_can_be_given_up_and_begun_again(site: Site) -> None:
    database, old = site.world.database, site.world.embedder.name
    async with database.transaction() as connection:
        await embeddings.begin_building(connection, NEW)
    await site.add("x.md", "About packets.")
    assert await abandon(database) == NEW
    assert await site.count(NEW) == 0
    assert await site.states() == {old: "READY", NEW: "RETIRED"}
    with pytest.raises(Refusal, match="No index"):
        await abandon(database)
    assert await reindex(database, site.models, NEW, quiet) == old
    assert await reindex(database, site.models, old, quiet) == NEW
    assert len(await site.found()) == 4


async def test_documents_go_and_are_replaced_while_an_index_is_built(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted, replaced, added and deleted again between its batches: it is whole all the same."""
    world, database = site.world, site.world.database
    keys = [
        await world.upload(f"{n}.md", f"# No {n}\n\nA packet of the kind {n} lives {n} hops.")
        for n in range(24)
    ]
    for key in keys:
        await ingest_document(site.work, key)
    monkeypatch.setattr("ops.reindex.BATCH_CHUNKS", 2)

    async def delete(key: UUID) -> None:
        await world.change(
            world.instructor,
            documents.delete_document,
            Permission.DOCUMENT_WRITE,
            document_id=global_id("Document", key),
        )

    async def disturb(number: int, key: UUID) -> None:
        await asyncio.sleep(0.02 * number)
        if number % 3 == 0:
            await delete(key)
        elif number % 3 == 1:
            newer = await renew(world, key, f"# New {number}\n\nA packet of a newer kind {number}.")
            await ingest_document(site.work, newer)
        else:
            late = await world.upload(f"late{number}.md", f"# Late {number}\n\nAbout packets.")
            await asyncio.gather(ingest_document(site.work, late), delete(late))

    await asyncio.gather(
        reindex(database, site.models, NEW, quiet), *(disturb(*at) for at in enumerate(keys))
    )
    async with database.read() as connection:
        lacking = await embeddings.missing(connection, NEW)
        states = (await connection.execute(text("SELECT state FROM document"))).scalars().all()
    assert lacking.chunks == 0
    assert Counter(states) == {"READY": 2 + 16, "REPLACED": 8, "DELETED": 16}
    assert await site.states() == {world.embedder.name: "RETIRED", NEW: "READY"}
    assert len(await site.found()) == 10


async def test_nothing_goes_to_a_provider_that_is_not_approved(site: Site) -> None:
    database, world = site.world.database, site.world
    await reindex(database, site.models, NEW, quiet)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE approved_provider SET withdrawn_at = now()"))
    sent = len(site.server.texts)
    with pytest.raises(AgentFailure, match="approveProvider") as failure:
        await site.found()
    assert not failure.value.retryable
    late = await world.upload("late.md", "A late page about packets.")
    await ingest_document(site.work, late)
    async with database.read() as connection:
        sql = text("SELECT state, failure ->> 'code' FROM document WHERE id = :id")
        row = (await connection.execute(sql, {"id": late})).one()
    assert tuple(row) == ("FAILED", "PROVIDER_NOT_APPROVED")
    with pytest.raises(Refusal, match="without having approved it"):
        await reindex(database, site.models, "openai:other@8", quiet)
    assert len(site.server.texts) == sent


async def test_a_wrong_key_changes_nothing(site: Site) -> None:
    site.server.faults = [401]
    with pytest.raises(EmbeddingUnavailable, match="401"):
        await reindex(site.world.database, site.models, NEW, quiet)
    assert NEW not in await site.states()


async def test_the_database_refuses_a_vector_of_another_dimension(site: Site) -> None:
    with pytest.raises(Exception, match="ck_chunk_embedding_dimension"):
        async with site.world.database.transaction() as connection:
            await connection.execute(text("UPDATE chunk_embedding SET embedding = '[1,0]'"))
