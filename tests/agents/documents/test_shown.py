"""Only what a document shows is read, and all of it."""

import io

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches

from tests.agents.documents.hostile import changed, docx
from tests.agents.documents.written import read, saved, write_docx

_W = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
)
_BOX = "<w:txbxContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:txbxContent>"
BODY = f"""<w:document {_W}><w:body>
<w:p><w:r><w:t>Kept </w:t></w:r><w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>
<w:del><w:r><w:delText>UNSEEN</w:delText></w:r></w:del>
<w:r><w:rPr><w:vanish/></w:rPr><w:t>UNSEEN</w:t></w:r></w:p>
<w:sdt><w:sdtContent><w:p><w:r><w:t>In a control</w:t><w:tab/><w:t>after a tab</w:t></w:r></w:p>
</w:sdtContent></w:sdt>
<w:p><w:r><w:t>Above a box</w:t></w:r><w:r><mc:AlternateContent>
<mc:Choice Requires="wps">{_BOX.format("In a box")}</mc:Choice>
<mc:Fallback>{_BOX.format("UNSEEN")}</mc:Fallback></mc:AlternateContent></w:r></w:p>
<w:p><m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>outer</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r>
<w:t>inner</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:tc><w:tc><w:p><w:r><w:t>last</w:t></w:r>
</w:p></w:tc></w:tr></w:tbl></w:body></w:document>"""


def test_word_files_with_tracked_changes_controls_boxes_formulas_and_nested_tables() -> None:
    found = read(changed(docx(), {"word/document.xml": BODY.encode()}), "x.docx").text
    assert found.split("\n") == [
        "Kept inserted", "", "In a control\tafter a tab", "", "Above a box", "", "In a box", "",
        "a+b", "outer inner | last",
    ]  # fmt: skip


def test_a_heading_is_one_by_its_style_in_any_language() -> None:
    document = Document(io.BytesIO(write_docx([["Überschrift", "words"]]).data))
    style = next(s for s in document.styles if s.name == "Heading 2")
    style.element.set("{http://schemas.openxmlformats.org/wordprocessingml/2006/main}styleId", "U2")
    document.paragraphs[0].style = style
    assert next(iter(read(saved(document), "x.docx").blocks)).level == 2


def test_hidden_slides_are_not_read_and_keep_their_number() -> None:
    show = Presentation()
    for text in ("UNSEEN", "shown"):
        slide = show.slides.add_slide(show.slide_layouts[6])
        slide.shapes.add_textbox(0, 0, Inches(1), Inches(1)).text_frame.text = text
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = f"{text} in a group"
        table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
        table.cell(0, 0).text, table.cell(0, 1).text = f"{text} left", "right"
    show.slides[0].element.set("show", "0")
    found = read(saved(show), "x.pptx")
    assert found.text == "shown\nshown in a group\nshown left | right"
    assert [anchor.number for anchor in found.anchors] == [2]


def test_hidden_sheets_are_not_read() -> None:
    book = Workbook()
    book.active.title = "Shown"
    book.active["A1"] = "=1+1"
    book.active["B1"] = 2.0
    for state in ("hidden", "veryHidden"):
        sheet = book.create_sheet(f"UNSEEN {state}")
        sheet["A1"] = "UNSEEN"
        sheet.sheet_state = state
    assert read(saved(book), "x.xlsx").text == "Shown\n2"


def test_a_page_is_read_as_it_is_laid_out() -> None:
    page = b"""<title>UNSEEN</title><h1>A <b>bold</b>
      title</h1><p>One<br>two</p>tail<ul><li>first</li><li>second</li></ul>
      <table><tr><th>a | b</th><td>c<p>d</p></td></tr></table><pre>x = 1
  y = 2</pre><p style="color:red; visibility:hidden">UNSEEN</p><details>closed</details>"""
    assert read(page, "x.html").text == (
        "A bold title\n\nOne\ntwo\n\ntail\nfirst\nsecond\na | b | c d\n\nx = 1\n  y = 2\n\nclosed"
    )
