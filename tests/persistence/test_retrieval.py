"""Search finds what answers, and never what is out of scope, whichever plan is taken."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from sqlalchemy import text

from persistence import retrieval
from persistence.database import add
from persistence.retrieval import PassageRow
from persistence.scopes import PassageScope
from persistence.tables.identity import OrganizationRow
from resolvers.documents_work import ingest_document
from resolvers.retrieval import CourseSearch
from tests.embedders import only
from tests.study_world import StudyWorld, add_course, add_people, embedder, study_world  # noqa: F401 - fixtures

Search = Callable[..., Awaitable[list[PassageRow]]]
QUESTION = "What happens when the time to live of a packet reaches zero?"


@pytest.fixture(params=["exact", "hnsw"])
async def search(
    study_world: StudyWorld,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Search:
    """A search by either plan; by default for everything the viewer's course has."""
    if request.param == "hnsw":
        monkeypatch.setattr(retrieval, "EXACT_ROWS", 0)
        monkeypatch.setattr(retrieval, "RANKED_ROWS", 0)

    async def run(
        query: str = QUESTION,
        *,
        organization_id: UUID | None = None,
        course_id: UUID | None = None,
        model: str | None = None,
        limit: int = 10,
    ) -> list[PassageRow]:
        (vector,) = await study_world.embedder.embed([query])
        scope = PassageScope(
            organization_id or study_world.organization_id,
            [course_id or study_world.course_id],
            model or study_world.embedder.name,
        )
        async with study_world.database.transaction() as connection:
            return list(await retrieval.search(connection, scope, query, vector, limit))

    return run


async def test_a_question_finds_its_passage_first(
    study_world: StudyWorld,
    search: Search,
) -> None:
    await study_world.ingest()
    rows = await search()
    assert rows[0].document_title == "routing"
    assert rows[0].heading_path == ["Routing", "Time to live"]
    assert "time to live reaches zero" in rows[0].text
    assert [r.score for r in rows] == sorted((r.score for r in rows), reverse=True)
    assert [r.id for r in await search(limit=1)] == [rows[0].id]


@pytest.mark.parametrize(
    "query", ["", "?!", "the of and", "it's a 'quoted' \\ back:slash & | ! (query", "zzzqqq"]
)
async def test_any_text_is_a_query(
    study_world: StudyWorld,
    search: Search,
    query: str,
) -> None:
    await study_world.ingest()
    assert len(await search(query)) == 3  # vectors rank everything in scope


async def test_nothing_out_of_scope_is_found(
    study_world: StudyWorld,
    search: Search,
) -> None:
    world = study_world
    (stranger,) = await add_people(world.database, world.organization_id, ["other"])
    elsewhere = await add_course(world.database, world.organization_id, "OTH", stranger)
    routing, transport = await world.ingest()
    other = await world.upload(
        "x.md",
        "When the time to live of a packet reaches zero.",
        course_id=elsewhere,
        user_id=stranger,
    )
    await ingest_document(world.work(), other)
    foreign = OrganizationRow(name="Foreign", slug="foreign")
    async with world.database.transaction() as connection:
        await add(connection, foreign)

    mine = {row.document_id for row in await search()}
    assert mine == {routing, transport}
    assert {row.document_id for row in await search(course_id=elsewhere)} == {other}
    assert await search(organization_id=foreign.id) == []
    assert await search(model="openai:another@384") == []


@pytest.mark.parametrize("state", ["UPLOADED", "EMBEDDING", "FAILED", "DELETED"])
async def test_only_ready_documents_are_found(
    study_world: StudyWorld,
    search: Search,
    state: str,
) -> None:
    routing, transport = await study_world.ingest()
    async with study_world.database.transaction() as connection:
        await connection.execute(
            text("UPDATE document SET state = :state WHERE id = :id"),
            {"state": state, "id": routing},
        )
    assert {row.document_id for row in await search()} == {transport}


async def test_both_plans_rank_alike(
    study_world: StudyWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = study_world
    await world.ingest(
        {f"{n}.md": f"Fact {n}: the switch {n} has {n} ports and one table.\n" for n in range(40)}
    )
    bound = CourseSearch(
        world.database, only(world.embedder), world.organization_id, world.course_id
    )
    exact = await bound.search("How many ports has the switch 7?", 5)
    monkeypatch.setattr(retrieval, "EXACT_ROWS", 0)
    monkeypatch.setattr(retrieval, "RANKED_ROWS", 0)
    monkeypatch.setattr(retrieval, "CANDIDATES", 10)  # so few that HNSW need not be helped out
    large = await bound.search("How many ports has the switch 7?", 5)
    # how many chunks have a word is estimated there, so scores may differ
    assert exact[0].document_title == large[0].document_title == "7"


async def test_what_hnsw_misses_is_found_by_comparing(study_world: StudyWorld) -> None:
    world = study_world
    await world.ingest()
    (vector,) = await world.embedder.embed([QUESTION])
    scope = PassageScope(world.organization_id, [world.course_id], world.embedder.name)
    async with world.database.transaction() as connection:
        await retrieval.prepare(connection, scope)
        wanted = await retrieval.nearest(connection, scope, vector, 10, exact=True)
        await connection.execute(text("SET LOCAL hnsw.iterative_scan = off"))
        await connection.execute(text("SET LOCAL hnsw.ef_search = 1"))
        found = await retrieval.nearest(connection, scope, vector, 10, exact=False)
    assert [key for key, _ in found] == [key for key, _ in wanted]
    assert len(found) == 3


async def test_a_passage_is_searched_in_its_own_language(
    study_world: StudyWorld, search: Search
) -> None:
    greek = "Οι δρομολογητές προωθούν τα πακέτα προς τον προορισμό τους."  # noqa: RUF001
    await study_world.ingest({"notes.md": f"A router forwards packets.\n\n# Δίκτυα\n\n{greek}\n"})
    best = (await search("δρομολογητή"))[0]
    assert (best.language, best.text_rank) == ("el", 1)


@pytest.mark.parametrize("words", [1, 9, 40, 90])
async def test_a_query_of_any_length_is_ranked_by_its_words(
    study_world: StudyWorld, search: Search, words: int
) -> None:
    await study_world.ingest()
    query = " ".join(["discarded", *(f"unheard{number}" for number in range(words - 1))])
    (best,) = [row for row in await search(query) if row.text_rank is not None]
    assert best.heading_path == ["Routing", "Time to live"]
    assert best.text_score is not None
    assert best.text_score > 0


async def test_a_search_outside_a_transaction_would_forget_its_settings(
    study_world: StudyWorld,
) -> None:
    world = study_world
    scope = PassageScope(world.organization_id, [world.course_id], world.embedder.name)
    async with world.database.read() as connection:
        with pytest.raises(RuntimeError, match="transaction"):
            await retrieval.prepare(connection, scope)
