"""What the API tells of a document that was read, and of one that was not."""

from tests.agents.documents.hostile import compound
from tests.agents.documents.written import write_docx, write_pdf, write_xlsx
from tests.schema.test_study import node, uploaded
from tests.world import INSTRUCTOR, World

READ = """query($id: ID!) { node(id: $id) { ... on Document { state mediaType pages
  failure { code message advice } notes { code message }
  chunks(first: 10) { nodes { page language location { kind label first last } } } } } }"""


async def test_a_passage_of_each_format_says_where_it_stands(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    pdf = write_pdf([["First words."], [], ["More words."]], pictures=(2,))
    found = await node(instructor, READ, await uploaded(world, "paper.pdf", pdf.data))
    assert (found["state"], found["mediaType"], found["pages"]) == ("READY", "application/pdf", 3)
    assert [note["code"] for note in found["notes"]] == ["PAGES_WITHOUT_TEXT"]
    assert "page 2 " in found["notes"][0]["message"]
    assert found["chunks"]["nodes"] == [
        {"page": n, "language": "en", "location": place("PAGE", f"page {n}", n, n)} for n in (1, 3)
    ]
    sheet = write_xlsx([[["a", "b"], ["c", "d"]]])
    found = await node(instructor, READ, await uploaded(world, "marks.xlsx", sheet.data))
    label = "Sheet no 1!B2:C3"
    assert found["chunks"]["nodes"] == [
        {"page": None, "language": "en", "location": place("CELL_RANGE", label, 2, 3)}
    ]
    essay = write_docx([["Title", "words"]])
    found = await node(instructor, READ, await uploaded(world, "essay.docx", essay.data))
    assert found["chunks"]["nodes"] == [{"page": None, "language": "en", "location": None}]
    assert found["notes"] == []
    code = await uploaded(world, "main.py", b"x = 1\ny = 2\n")
    found = await node(instructor, READ, code)
    assert found["chunks"]["nodes"][0]["location"] == place("LINE_RANGE", "lines 1-2", 1, 2)


def place(kind: str, label: str, first: int, last: int) -> dict[str, object]:
    return {"kind": kind, "label": label, "first": first, "last": last}


async def test_a_document_that_is_not_read_says_why_and_what_to_do(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    key = await uploaded(world, "secret.docx", compound(""))
    found = await node(instructor, READ, key)
    assert found["state"] == "FAILED"
    assert found["failure"] == {
        "code": "ENCRYPTED",
        "message": "The file is protected by a password.",
        "advice": "Remove the password and upload it again.",
    }
    key = await uploaded(world, "scan.pdf", write_pdf([[]], pictures=(1,)).data)
    found = await node(instructor, READ, key)
    assert (found["state"], found["failure"]["code"]) == ("NO_TEXT", "NO_TEXT")
    assert "OCR" in found["failure"]["advice"]
