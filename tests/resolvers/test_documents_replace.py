"""Versions: the old one serves until the new one can, and what was quoted stays readable."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from resolvers import documents, documents_replace
from resolvers.access import Permission
from resolvers.audit import Action
from resolvers.documents_replace import sweep_replaced
from resolvers.documents_work import ingest_document
from resolvers.global_ids import global_id
from resolvers.mutations import perform
from resolvers.originals import sweep_objects
from resolvers.refusals import Refusal, RefusalCode
from resolvers.retrieval import CourseSearch, search_documents
from tests.embedders import only
from tests.resolvers.test_documents_work import chunks, count, document, state
from tests.study_world import MATERIAL, File, StudyWorld, embedder, study_world  # noqa: F401 - fixtures

OLD = "# Routing\n\nA router forwards each packet by the longest matching prefix of its table."
NEW = "# Routing\n\nA router forwards each packet by the label that the edge has put on it."


async def renew(world: StudyWorld, key: UUID, content: str, **values: Any) -> UUID:
    given = {
        "document_id": global_id("Document", key),
        "upload_id": None,
        "file": File("routing-2.md", content.encode()),
        "title": None,
    } | values
    context = await world.context(given.pop("user_id", world.instructor))
    action = Action("replace_document", Permission.DOCUMENT_WRITE, "Document", given)
    work, prepare = documents_replace.replace_document, documents_replace.find_replacement
    (made,) = await perform(context, action, work, None, prepare)
    return made


async def found(world: StudyWorld) -> set[UUID]:
    """The documents in which a search of a student finds something."""
    search = CourseSearch(
        world.database, only(world.embedder), world.organization_id, world.course_id
    )
    passages = await search.search("How does a router forward a packet?", 10)
    return {UUID(passage.document_id) for passage in passages}


async def test_the_old_version_serves_until_the_new_one_can(study_world: StudyWorld) -> None:
    world = study_world
    (old,) = await world.ingest({"routing.md": OLD})
    (chunk, *_) = await chunks(world, old)
    new = await renew(world, old, NEW)
    row = await document(world, new)
    assert row is not None
    assert (row.version, row.title, row.file_name) == (2, "routing", "routing-2.md")
    assert (await state(world, old), await found(world)) == ("READY", {old})

    await ingest_document(world.work(), new)
    assert (await state(world, old), await state(world, new)) == ("REPLACED", "READY")
    assert await found(world) == {new}
    student = await world.context(world.ann)
    assert (await documents.load_chunks(student, [chunk.id]))[0] is not None
    (old_row,) = await documents.load_documents(student, [old])
    (new_row,) = await documents.load_documents(student, [new])
    assert old_row is not None
    assert new_row is not None
    both = [old_row, new_row]
    assert await documents_replace.get_replacements(both, student) == [new_row, None]
    assert await documents_replace.get_replaced(both, student) == [None, old_row]
    back = await renew(world, new, OLD)
    await ingest_document(world.work(), back)
    assert await found(world) == {back}


async def test_a_replaced_document_is_read_by_its_id_and_never_searched(
    study_world: StudyWorld,
) -> None:
    """Not by naming it either; and one that is not ready is unknown to a student."""
    world = study_world
    (old,) = await world.ingest({"routing.md": OLD})
    new = await renew(world, old, NEW)
    student = await world.context(world.ann)
    with pytest.raises(Refusal) as refused:
        await search_documents(student, None, [global_id("Document", new)], "router", 10, None)
    assert refused.value.code == RefusalCode.NOT_FOUND
    await ingest_document(world.work(), new)
    both = [global_id("Document", key) for key in (old, new)]
    page = await search_documents(student, None, both, "router", 10, None)
    assert {hit.passage.document_id for hit in page.rows} == {new}
    assert not (await search_documents(student, None, both[:1], "router", 10, None)).rows


async def test_a_new_version_that_fails_changes_nothing(study_world: StudyWorld) -> None:
    world = study_world
    (old,) = await world.ingest({"routing.md": OLD})
    new = await renew(world, old, " \n ")
    with pytest.raises(Refusal) as refused:
        await renew(world, old, NEW)
    assert refused.value.code == RefusalCode.CONFLICT
    await ingest_document(world.work(), new)
    assert (await state(world, new), await state(world, old)) == ("NO_TEXT", "READY")
    assert await found(world) == {old}
    await ingest_document(world.work(), await renew(world, old, NEW))
    assert await state(world, old) == "REPLACED"


async def test_what_cannot_be_replaced(study_world: StudyWorld) -> None:
    world = study_world
    (old, other) = await world.ingest({"routing.md": OLD, "other.md": MATERIAL["transport.md"]})
    waiting = await world.upload("waiting.md", "# Waiting\n\nNot read yet.")
    cases: list[tuple[UUID, str, dict[str, Any], RefusalCode]] = [
        (old, OLD, {}, RefusalCode.CONFLICT),
        (old, MATERIAL["transport.md"], {}, RefusalCode.CONFLICT),
        (waiting, NEW, {}, RefusalCode.INVALID_STATE),
        (old, NEW, {"file": None}, RefusalCode.BAD_INPUT),
        (old, NEW, {"upload_id": global_id("ResumableUpload", old)}, RefusalCode.BAD_INPUT),
        (old, NEW, {"file": None, "upload_id": global_id("ResumableUpload", old)},
         RefusalCode.NOT_FOUND),
        (old, NEW, {"user_id": world.ann}, RefusalCode.FORBIDDEN),
        (world.course_id, NEW, {}, RefusalCode.NOT_FOUND),
    ]  # fmt: skip
    for key, content, values, code in cases:
        with pytest.raises(Refusal) as refused:
            await renew(world, key, content, **values)
        assert refused.value.code == code, (content, values)
    assert await found(world) == {old, other}
    assert await count(world, "SELECT count(*) FROM document WHERE replaces_id IS NOT NULL") == 0


async def test_old_versions_end_when_it_is_configured(study_world: StudyWorld) -> None:
    world = study_world
    (old,) = await world.ingest({"routing.md": OLD})
    new = await renew(world, old, NEW)
    await ingest_document(world.work(), new)
    await sweep_replaced(world.work())
    await sweep_replaced(replace(world.work(), replaced_life=timedelta(days=1)))
    assert await state(world, old) == "REPLACED"
    await sweep_replaced(replace(world.work(), replaced_life=timedelta(0)))
    assert await state(world, old) == "DELETED"
    await sweep_objects(world.work())
    assert await count(world, "SELECT count(*) FROM stored_object") == 1
    assert await count(world, "SELECT count(*) FROM chunk WHERE document_id = :key", key=old) == 0
    assert await found(world) == {new}
