"""The demonstration content: complete, consistent with its own rubric, loadable from a wheel."""

import re
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ops.demo import content as content_module
from ops.demo.content import DemoContent, DemoRole, DemoSubmission, load_demo_content

INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
UNUSUAL_LENGTHS = {"empty", "very long, rambling"}


@pytest.fixture(scope="module")
def demo() -> DemoContent:
    return load_demo_content()


def _by_trait(demo: DemoContent, trait: str) -> DemoSubmission:
    (found,) = (entry for entry in demo.submissions if entry.trait == trait)
    return found


def _all_marks(demo: DemoContent) -> list[Mapping[str, Decimal]]:
    return [entry.marks for entry in demo.submissions] + [
        exemplar.marks for exemplar in demo.exemplars
    ]


def _section(markdown: str, heading: str) -> str:
    """The text from `heading` to the next heading of any depth."""
    blocks = re.split(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    sections = dict(zip(blocks[1::2], blocks[2::2], strict=True))
    return sections[heading]


def test_course_has_one_instructor_one_admin_and_a_student_for_each_submission(
    demo: DemoContent,
) -> None:
    course = demo.course
    assert len(course.people_with(DemoRole.INSTRUCTOR)) == 1
    assert len(course.people_with(DemoRole.ADMIN)) == 1
    students = [person.email for person in course.people_with(DemoRole.STUDENT)]
    assert len(students) >= 26
    assert sorted(students) == sorted(entry.student_email for entry in demo.submissions)
    assert ZoneInfo(course.time_zone).key == course.time_zone


def test_emails_are_unique_and_lie_in_the_example_domain(demo: DemoContent) -> None:
    emails = [person.email for person in demo.course.people]
    assert len({email.lower() for email in emails}) == len(emails)
    for email in emails:
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)+@(students\.)?example\.edu", email), email


def test_each_document_has_the_length_of_a_chapter_and_its_title_as_heading(
    demo: DemoContent,
) -> None:
    assert len(demo.documents) == 4
    assert len({document.key for document in demo.documents}) == 4
    for document in demo.documents:
        assert len(document.text.split()) >= 1300, document.key
        assert document.text.startswith(f"# {document.title}\n")
        headings = re.findall(r"^#+ (.+)$", document.text, flags=re.MULTILINE)
        assert len(headings) == len(set(headings)), document.key
        assert re.search(r"^(-|1\.) ", document.text, flags=re.MULTILINE), document.key


def test_points_of_criteria_add_up_to_those_of_the_assignment(demo: DemoContent) -> None:
    criteria = demo.assignment.criteria
    assert len(criteria) == 4
    assert sum(criterion.points for criterion in criteria) == demo.assignment.points
    assert 150 <= len(demo.assignment.reference_answer.split()) <= 250


def test_levels_cover_each_criterion_without_a_gap(demo: DemoContent) -> None:
    for criterion in demo.assignment.criteria:
        levels = criterion.levels
        assert len(levels) == 4
        assert levels[0].min_points == 0
        assert levels[-1].max_points == criterion.points
        for lower, upper in pairwise(levels):
            assert lower.min_points < lower.max_points == upper.min_points < upper.max_points
        assert len({level.description for level in levels}) == 4


def test_points_beyond_the_criterion_have_no_level(demo: DemoContent) -> None:
    criterion = demo.assignment.criteria[0]
    assert criterion.level_for(criterion.points) is criterion.levels[-1]
    assert criterion.level_for(Decimal("1.5")) is criterion.levels[1]
    with pytest.raises(ValueError, match="outside every level"):
        criterion.level_for(criterion.points + 1)


def test_each_mark_is_a_whole_number_inside_exactly_one_level(demo: DemoContent) -> None:
    for marks in _all_marks(demo):
        assert set(marks) == {criterion.key for criterion in demo.assignment.criteria}
        for criterion in demo.assignment.criteria:
            points = marks[criterion.key]
            holding = [
                level
                for level in criterion.levels
                if level.min_points <= points <= level.max_points
            ]
            assert len(holding) == 1
            assert points == points.to_integral_value()


def test_submissions_and_exemplars_reach_every_level_of_every_criterion(
    demo: DemoContent,
) -> None:
    for criterion in demo.assignment.criteria:
        for graded in (demo.submissions, demo.exemplars):
            reached = {criterion.level_for(entry.marks[criterion.key]).title for entry in graded}
            assert reached == {level.title for level in criterion.levels}, criterion.key


def test_totals_spread_over_the_scale(demo: DemoContent) -> None:
    totals = [sum(entry.marks.values()) for entry in demo.submissions]
    assert min(totals) == 0
    assert max(totals) == demo.assignment.points
    assert len(set(totals)) >= 10


def test_ordinary_submissions_have_the_length_of_an_essay(demo: DemoContent) -> None:
    ordinary = [entry for entry in demo.submissions if entry.trait not in UNUSUAL_LENGTHS]
    assert len(ordinary) >= 26
    for entry in ordinary:
        assert 60 <= len(entry.text.split()) <= 350, entry.trait
    assert len({entry.text for entry in demo.submissions}) == len(demo.submissions)
    assert all(entry.comment and "\n" not in entry.comment for entry in demo.submissions)


def test_unusual_submissions_are_what_their_trait_says(demo: DemoContent) -> None:
    assert _by_trait(demo, "empty").text == ""
    assert len(_by_trait(demo, "very long, rambling").text.split()) >= 6000
    assert "Ignore the rubric" in _by_trait(demo, "instructs the grader").text
    assert "TCP" not in _by_trait(demo, "off-topic: a recipe").text


def test_only_one_submission_holds_invisible_characters(demo: DemoContent) -> None:
    holding = [entry.trait for entry in demo.submissions if INVISIBLE.search(entry.text)]
    assert holding == ["hidden characters"]
    kinds = set(INVISIBLE.findall(_by_trait(demo, "hidden characters").text))
    assert len(kinds) >= 3


def test_exemplars_are_no_student_s_submission_and_name_no_student(demo: DemoContent) -> None:
    assert len(demo.exemplars) == 6
    handed_in = {entry.text for entry in demo.submissions}
    for exemplar in demo.exemplars:
        assert exemplar.text not in handed_in
        for person in demo.course.people:
            assert person.name not in exemplar.text


def test_every_citation_is_a_sentence_of_the_section_it_names(demo: DemoContent) -> None:
    texts = {document.key: document.text for document in demo.documents}
    answerable = [question for question in demo.questions if question.answerable]
    assert len(answerable) == 3
    for question in answerable:
        assert question.citations
        for citation in question.citations:
            assert citation.quote in _section(texts[citation.document], citation.section)


def test_one_question_is_not_answered_by_any_document(demo: DemoContent) -> None:
    (question,) = (entry for entry in demo.questions if not entry.answerable)
    assert question.citations == ()
    assert not any(question.key in document.text.lower() for document in demo.documents)


def test_texts_are_nfc(demo: DemoContent) -> None:
    texts = [person.name for person in demo.course.people]
    texts += [document.text for document in demo.documents]
    texts += [submission.text for submission in demo.submissions]
    texts += [exemplar.text for exemplar in demo.exemplars]
    assert all(unicodedata.is_normalized("NFC", text) for text in texts)


def test_content_loads_from_a_zipped_package(tmp_path: Path, demo: DemoContent) -> None:
    package = Path(content_module.__file__).parent
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ops/__init__.py", "")
        packed.writestr("ops/demo/__init__.py", "")
        packed.write(package / "content.py", "ops/demo/content.py")
        for path in sorted((package / "content").rglob("*")):
            packed.write(path, f"ops/demo/content/{path.relative_to(package / 'content')}")
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from ops.demo import content\n"
        f"assert content.__file__.startswith({str(archive)!r}), content.__file__\n"
        "print(len(content.load_demo_content().submissions))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert int(ran.stdout) == len(demo.submissions)
