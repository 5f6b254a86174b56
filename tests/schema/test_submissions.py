from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from ops.demo import documents as gql
from resolvers.global_ids import global_id
from tests.world import INSTRUCTOR, STUDENTS, World

ANN, BOB, _ = STUDENTS
READ = """query($id: ID!) { node(id: $id) { ... on Submission {
  alias student { name } attempts { number responses { text } } } } }"""
MINE = """query($id: ID!) { node(id: $id) { ... on Assignment { title
  mySubmission { alias } submissions { nodes { alias student { name } } }
  questions { referenceAnswer anchorPapers { id } } } } }"""
WIDE = """query($id: ID!) { node(id: $id) { ... on Assignment {
  submissions(first: 5) { nodes { student { name } attempts { number
    responses { text question { prompt rubricVersion { criteria { title } } } } }
  assignment { title } } } } } }"""


async def refused(
    world: World, email: str, assignment_id: str, question_id: str, **values: Any
) -> dict[str, Any]:
    client = await world.client(email)
    given = {
        "assignmentId": assignment_id,
        "responses": [{"questionId": question_id, "text": "It forwards."}],
    } | values
    payload = (await client.raw(gql.SUBMIT, {"input": given}))["data"]["submitAttempt"]
    assert payload["submission"] is None
    (error,) = payload["userErrors"]
    return dict(error)


async def test_text_comes_back_as_it_was_given(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    text = "Zoë wrote:\r\n  it fo\u0301rwards \U0001f4e6"
    submission_id = await world.submit(ANN, assignment_id, question_id, text)
    student = await world.client(ANN)
    node = (await student.ask(READ, {"id": submission_id}))["node"]
    (response,) = node["attempts"][0]["responses"]
    assert response["text"] == "Zoë wrote:\n  it fórwards \U0001f4e6"


async def test_after_the_lock_date_nothing_is_taken(world: World) -> None:
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    assignment_id, question_id, _ = await world.assignment(lockAt=past)
    error = await refused(world, ANN, assignment_id, question_id)
    assert error["code"] == "INVALID_STATE"
    assert "locked on" in error["message"]


async def test_a_late_attempt_says_how_late(world: World) -> None:
    past = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    assignment_id, question_id, _ = await world.assignment(dueAt=past)
    submission_id = await world.submit(ANN, assignment_id, question_id, "late")
    student = await world.client(ANN)
    data = await student.ask(
        "query($id: ID!) { node(id: $id) { ... on Submission { attempts { lateBySeconds } } } }",
        {"id": submission_id},
    )
    assert 7200 <= data["node"]["attempts"][0]["lateBySeconds"] < 7300


async def test_attempts_are_counted(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    await world.submit(ANN, assignment_id, question_id, "first")
    error = await refused(world, ANN, assignment_id, question_id)
    assert error["code"] == "LIMIT_EXCEEDED"


@pytest.mark.parametrize("responses", ["none", "twice", "foreign"])
async def test_each_question_is_answered_once(world: World, responses: str) -> None:
    assignment_id, question_id, criteria = await world.assignment()
    answer = {"questionId": question_id, "text": "x"}
    given = {
        "none": [],
        "twice": [answer, answer],
        "foreign": [{"questionId": criteria[0], "text": "x"}],
    }[responses]
    error = await refused(world, ANN, assignment_id, question_id, responses=given)
    assert (error["code"], error["path"]) == ("BAD_INPUT", ["input", "responses"])


async def test_a_student_hands_in_for_nobody_else_and_an_instructor_may(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    bob = global_id("User", await world.user_id(BOB))
    error = await refused(world, ANN, assignment_id, question_id, studentId=bob)
    assert error["code"] == "FORBIDDEN"
    instructor = await world.client(INSTRUCTOR)
    submission = await instructor.change(
        gql.SUBMIT,
        assignmentId=assignment_id,
        studentId=bob,
        responses=[{"questionId": question_id, "text": "by proxy"}],
    )
    student = await world.client(BOB)
    assert (await student.ask(READ, {"id": submission["id"]}))["node"]["student"]["name"] == "Bob"


async def test_another_students_submission_is_not_to_be_found(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    submission_id = await world.submit(ANN, assignment_id, question_id, "mine")
    bob = await world.client(BOB)
    assert await bob.ask(READ, {"id": submission_id}) == {"node": None}
    seen = (await bob.ask(MINE, {"id": assignment_id}))["node"]
    assert seen["mySubmission"] is None
    assert seen["submissions"]["nodes"] == []
    assert seen["questions"] == [{"referenceAnswer": None, "anchorPapers": []}]


async def test_an_anonymous_assignment_shows_no_name(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment(anonymous=True)
    submission_id = await world.submit(ANN, assignment_id, question_id, "mine")
    query = """query($id: ID!) { node(id: $id) { ... on Submission {
      student { name } attempts { submittedAt } } } }"""
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    hidden = {"student": None, "attempts": [{"submittedAt": None}]}
    assert (await instructor.ask(query, {"id": submission_id}))["node"] == hidden
    assert (await ann.ask(query, {"id": submission_id}))["node"]["student"] == {"name": "Ann"}


async def test_the_number_of_statements_does_not_grow_with_the_rows(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    instructor = await world.client(INSTRUCTOR)
    seen: list[str] = []
    engine = world.resources.database.engine.sync_engine

    def count(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "assignment" in statement or "question" in statement or "users" in statement:
            seen.append(statement)

    counts = []
    for email in STUDENTS:
        await world.submit(email, assignment_id, question_id, f"By {email}")
        tries = []
        for _ in range(3):  # the worker's own statements, now and then, come on top
            seen.clear()
            event.listen(engine, "before_cursor_execute", count)
            data = await instructor.ask(WIDE, {"id": assignment_id})
            event.remove(engine, "before_cursor_execute", count)
            tries.append(len(seen))
        counts.append(min(tries))
        assert len(data["node"]["submissions"]["nodes"]) == len(counts)
    assert counts[0] == counts[-1]


async def test_questions_are_closed_until_the_assignment_opens(world: World) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assignment_id, question_id, _ = await world.assignment(unlockAt=soon)
    asked = "query($a: ID!, $q: ID!) { a: node(id: $a) { ... on Assignment { questions { id } } } "
    asked += "q: node(id: $q) { ... on Question { prompt } } }"
    ids = {"a": assignment_id, "q": question_id}
    closed = await (await world.client(ANN)).ask(asked, ids)
    assert closed == {"a": {"questions": []}, "q": None}
    read = await (await world.client(INSTRUCTOR)).ask(asked, ids)
    assert read["a"]["questions"] == [{"id": question_id}]
    assert read["q"]["prompt"]


async def test_an_attempt_is_read_by_its_author_and_the_instructor(world: World) -> None:
    assignment_id, question_id, _ = await world.assignment()
    submission_id = await world.submit(ANN, assignment_id, question_id, "x")
    ids = "query($id: ID!) { node(id: $id) { ... on Submission { attempts { id } } } }"
    ann = await world.client(ANN)
    (attempt,) = (await ann.ask(ids, {"id": submission_id}))["node"]["attempts"]
    document = "query($id: ID!) { node(id: $id) { ... on Attempt { responses { text } } } }"
    for email in (ANN, INSTRUCTOR):
        found = (await (await world.client(email)).ask(document, attempt))["node"]
        assert found == {"responses": [{"text": "x"}]}
    assert await (await world.client(BOB)).ask(document, attempt) == {"node": None}


@pytest.mark.parametrize("points", ["NaN", "sNaN", "Infinity", "1E+99999", "", "٣", "0x1", True])
async def test_a_decimal_is_a_plain_number(world: World, points: object) -> None:
    instructor = await world.client(INSTRUCTOR)
    given = {
        "courseId": world.course_id,
        "title": "A",
        "kind": "ESSAY",
        "questions": [{"prompt": "p", "points": "1"}],
        "latePolicy": {"percentPerDay": points},
    }
    answer = await instructor.raw(gql.CREATE_ASSIGNMENT, {"input": given})
    assert answer["errors"][0]["extensions"]["code"] == "BAD_INPUT"


async def test_an_anchor_paper_marks_each_criterion_once(world: World) -> None:
    _, question_id, criteria = await world.assignment()
    marks = [{"criterionId": c, "points": "1"} for c in [*criteria, criteria[0]]]
    instructor = await world.client(INSTRUCTOR)
    given = {"questionId": question_id, "text": "t", "marks": marks}
    answer = await instructor.raw(gql.CREATE_ANCHOR_PAPER, {"input": given})
    assert answer["data"]["createAnchorPaper"]["userErrors"][0]["code"] == "BAD_INPUT"


@pytest.mark.parametrize(
    "dates",
    [
        {"lockAt": "0001-01-01T00:00:00Z"},
        {"unlockAt": "9999-12-31T23:59:59Z"},
        {"dueAt": "1950-01-01T00:00:00Z"},
        {"dueAt": "9999-12-31T23:59:59-14:00"},
        {"dueAt": "2026-05-01T12:00:00", "lockAt": "2026-05-02T12:00:00Z"},
    ],
)
async def test_a_date_no_calendar_agrees_on_is_refused(world: World, dates: dict[str, str]) -> None:
    instructor = await world.client(INSTRUCTOR)
    given = {"courseId": world.course_id, "title": "A", "kind": "ESSAY", **dates}
    given |= {"questions": [{"prompt": "p", "points": "1"}]}  # type: ignore[dict-item]
    answer = await instructor.raw(gql.CREATE_ASSIGNMENT, {"input": given})
    (error,) = answer["data"]["createAssignment"]["userErrors"]
    assert (error["code"], error["path"][1]) == ("BAD_INPUT", next(iter(dates)))
