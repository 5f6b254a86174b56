"""Pictures and scanned pages over the API, read by a model of either provider's protocol."""

# ruff: noqa: F811 - a fixture is asked for under the name it was imported by

from typing import Any

import pytest

from agents.documents.extracted import ExtractionCode
from persistence import model_choices
from persistence.users import organization_by_slug
from resolvers.global_ids import key_of
from tests.agents.documents.test_images import HOSTILE
from tests.agents.documents.written import draw, write_pdf
from tests.agents.models import gemini_server as gemini
from tests.agents.models import openai_server as openai
from tests.agents.models import picture_replies as pictures
from tests.model_world import ModelWorld
from tests.schema.test_model_providers import FLOWS, Make, models  # noqa: F401 - fixture
from tests.schema.test_retrieval import SEARCH
from tests.schema.test_study import ANN, node, uploaded
from tests.world import INSTRUCTOR, SLUG

READ = """query($id: ID!) { node(id: $id) { ... on Document { state mediaType pages
  failure { code message advice } notes { code message }
  chunks(first: 10) { nodes { page text headingPath location { label } } } } } }"""
DELETE = """mutation($input: DeleteDocumentInput!) { deleteDocument(input: $input) {
  document { id state } userErrors { code message } } }"""
SCAN = write_pdf([["Cells are small."], [], []], pictures=(2, 3), bookmarks=[(2, 0, "Organelles")])


async def taken_in(made: ModelWorld, name: str, data: bytes) -> dict[str, Any]:
    """The document once it was read, or was not."""
    key = await uploaded(made.world, name, data)
    found = await node(await made.world.client(INSTRUCTOR), READ, key)
    return {"id": key, **found}


async def test_scanned_pages_are_found_at_their_page(models: Make) -> None:
    async with models() as made:
        made.server.usual = pictures.reads
        scan = await taken_in(made, "cells.pdf", SCAN.data)
        assert (scan["state"], scan["pages"], scan["failure"]) == ("READY", 3, None)
        assert scan["chunks"]["nodes"] == [
            {
                "page": page,
                "text": text,
                "headingPath": path,
                "location": {"label": f"page {page}"},
            }
            for page, text, path in (
                (1, "Cells are small.", []),
                (2, pictures.TEXTS[2], ["Organelles"]),
                (3, pictures.TEXTS[3], ["Organelles"]),
            )
        ]
        assert [note["code"] for note in scan["notes"]] == ["READ_BY_MODEL"]
        assert pictures.pages_sent(made.server) == [2, 3]
        assert {shown.media_type for shown in map(pictures.shown_to, made.server.requests)} == {
            "image/png"
        }
        ann = await made.world.client(ANN)
        asked = {"scope": {"courseIds": [made.world.course_id]}, "query": "What burns sugar?"}
        best = (await ann.ask(SEARCH, asked))["search"]["nodes"][0]
        assert best["chunk"]["text"] == pictures.TEXTS[2]
        assert best["chunk"]["document"]["id"] == scan["id"]
        used = await made.usages(scan["id"], "Document")
        assert {(u.role, u.provider, u.outcome) for u in used} == {
            ("picture_reader", made.provider, "ANSWERED")
        }
        assert all(u.cost_micros == 18 and u.user_id is not None for u in used)
        assert {u.course_id for u in used} == {key_of(made.world.course_id, "Course", ("id",))}


async def test_a_picture_is_read_without_what_its_file_hides(models: Make) -> None:
    async with models() as made:
        made.server.usual = pictures.says("Enzymes\u0000 are cafe\u0301 catalysts.")
        photo = draw("JPEG", (3_000, 2_000), comment=b"taken at home")
        board = await taken_in(made, "board.jpg", photo)
        assert (board["state"], board["mediaType"]) == ("READY", "image/jpeg")
        (passage,) = board["chunks"]["nodes"]
        assert (passage["page"], passage["text"]) == (None, "Enzymes are café catalysts.")
        (request,) = made.server.requests
        assert b"taken at home" not in pictures.shown_to(request).data
        flows = (await (await made.world.client(ANN)).ask(FLOWS))["dataFlows"]
        (flow,) = [one for one in flows if one["feature"] == "reading pictures"]
        assert flow["provider"].startswith(made.provider)
        assert flow["fields"]


async def test_nothing_is_sent_to_a_provider_that_is_not_approved(models: Make) -> None:
    async with models(approved=False) as made:
        scan = await taken_in(made, "scan.pdf", write_pdf([[], []], pictures=(1, 2)).data)
        assert (scan["state"], scan["failure"]["code"]) == ("NO_TEXT", "PROVIDER_NOT_APPROVED")
        assert "has not approved the provider" in scan["failure"]["message"]
        assert "approveProvider" in scan["failure"]["advice"]
        half = await taken_in(made, "half.pdf", SCAN.data)
        assert half["state"] == "READY"
        (note,) = half["notes"]
        assert note["code"] == "PAGES_WITHOUT_TEXT"
        assert "page 2-3 (this organization has not approved" in note["message"]
        assert made.server.requests == []


async def test_nobody_reads_where_a_course_chose_nobody(models: Make) -> None:
    async with models() as made:
        course = key_of(made.world.course_id, "Course", ("id",))
        async with made.world.resources.database.transaction() as connection:
            found = await organization_by_slug(connection, SLUG)
            assert found is not None
            await model_choices.choose(connection, found.id, course, "picture_reader", "offline")
        board = await taken_in(made, "board.png", draw("PNG"))
        assert (board["state"], board["failure"]["code"]) == ("NO_TEXT", "NO_TEXT")
        assert "no model that reads pictures" in board["failure"]["message"]
        assert made.server.requests == []


def _blocked(provider: str) -> Any:
    return (
        gemini.whole({"promptFeedback": {"blockReason": "SAFETY"}})
        if provider == "gemini"
        else openai.stream_of([openai.chunk("content_filter"), openai.counted(), openai.DONE])
    )


def _truncated(provider: str) -> Any:
    return pictures.says("Cut off", finish="MAX_TOKENS" if provider == "gemini" else "length")


def _nothing(provider: str) -> Any:
    return (
        gemini.parts({"text": ""})
        if provider == "gemini"
        else openai.stream_of([openai.chunk("stop"), openai.counted(), openai.DONE])
    )


def _no_json(provider: str) -> Any:
    return (gemini if provider == "gemini" else openai).says("Here is the text:")


ANSWERS: list[tuple[Any, int, str]] = [
    (_blocked, 1, "declined"),
    (_truncated, 1, "more text than the model may write"),
    (_nothing, 2, "could not read it"),
    (_no_json, 2, "could not read it"),
    (lambda _: pictures.says(" \n "), 1, "found no text"),
    (lambda _: gemini.fails(400, "INVALID_ARGUMENT"), 1, "could not read it"),
    (lambda _: gemini.fails(401, "UNAUTHENTICATED"), 1, "does not let this server in"),
]


@pytest.mark.filterwarnings("ignore:No text content")  # of autogen-ext, beside our own failure
async def test_an_answer_that_is_none_says_so(models: Make) -> None:
    """Each to a picture of its own: paid at most twice, and never taken for text."""
    async with models() as made:
        for number, (answer, asked, why) in enumerate(ANSWERS):
            made.server.requests.clear()
            made.server.usual = answer(made.provider)
            board = await taken_in(made, f"{number}.png", draw("PNG", (40 + number, 30)))
            state = "FAILED" if "server" in why else "NO_TEXT"
            assert (board["state"], board["chunks"]["nodes"]) == (state, [])
            assert why in board["failure"]["message"]
            assert board["failure"]["advice"]
            assert len(made.server.requests) == asked


@pytest.mark.filterwarnings("ignore:No text content")
async def test_one_page_that_is_declined_does_not_cost_the_others(models: Make) -> None:
    async with models() as made:
        made.server.usual = pictures.reads
        made.server.then(_blocked(made.provider))
        scan = await taken_in(made, "scan.pdf", write_pdf([[], [], []], pictures=(1, 2, 3)).data)
        assert scan["state"] == "READY"
        assert len(scan["chunks"]["nodes"]) == 2
        assert [note["code"] for note in scan["notes"]] == ["PAGES_WITHOUT_TEXT", "READ_BY_MODEL"]


@pytest.mark.parametrize("limit", ["model_budget_micros", "picture_budget_micros"])
async def test_a_budget_that_is_used_up_says_so(models: Make, limit: str) -> None:
    async with models(**{limit: 100}) as made:
        board = await taken_in(made, "board.png", draw("PNG"))
        assert (board["state"], board["failure"]["code"]) == ("FAILED", "MODEL_BUDGET")
        assert "budget" in board["failure"]["message"]
        assert made.server.requests == []


async def test_what_reading_a_document_may_cost_is_not_passed(models: Make) -> None:
    """A page costs 18; what one may cost at most is set aside while it is read."""
    async with models(picture_budget_micros=16_000) as made:
        made.server.usual = pictures.reads
        pages: list[list[str]] = [[] for _ in range(8)]
        scan = await taken_in(made, "scan.pdf", write_pdf(pages, pictures=tuple(range(1, 9))).data)
        assert scan["state"] == "READY"
        assert len(scan["chunks"]["nodes"]) == 8
        used = await made.usages(scan["id"], "Document")
        assert len(used) == 8


async def test_a_hostile_picture_never_reaches_the_provider(models: Make) -> None:
    async with models() as made:
        for data, name, code in HOSTILE.values():
            if code is ExtractionCode.WRONG_TYPE or not data.strip(b"\x00"):
                continue  # refused at once: tests/resolvers/test_documents_work.py
            board = await taken_in(made, name, data)
            assert (board["state"] == "READY", board["failure"]["code"]) == (False, code)
        assert made.server.requests == []


async def test_what_was_read_goes_with_its_document(models: Make) -> None:
    async with models() as made:
        made.server.usual = pictures.reads
        scan = await taken_in(made, "scan.pdf", SCAN.data)
        key = key_of(scan["id"], "Document", ("id",))
        database = made.world.resources.database
        kept = "SELECT count(*) FILTER (WHERE response <> ''), count(*) FROM model_call"
        connection = await database.direct()
        try:
            assert tuple(await connection.fetchrow(f"{kept} WHERE owner_id = $1", key)) == (2, 2)
            instructor = await made.world.client(INSTRUCTOR)
            await instructor.ask(DELETE, {"input": {"documentId": scan["id"]}})
            assert tuple(await connection.fetchrow(f"{kept} WHERE owner_id = $1", key)) == (0, 2)
        finally:
            await connection.close()
