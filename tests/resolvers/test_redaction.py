"""Anonymous marking, from the answer handed in to the quotation a student reads."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from agents.grading.brief import Role as Seat
from agents.grading.redaction import NAME
from agents.grading.verdict import GradeRequest, GradeVerdict
from persistence.tables.assignments import AssignmentRow
from persistence.tables.base import table_of
from persistence.tables.identity import UserRow
from persistence.tables.submissions import SubmissionRow
from resolvers.context import RequestContext
from resolvers.global_ids import global_id
from schema.root import build_schema
from tests.grading_world import GradingWorld, Members, grading_world

__all__ = ["grading_world"]

SCHEMA = build_schema()
STUDENT = "Quetzalina Ximenes"
ANSWER = f"As I, {STUDENT}, saw: the router reads the address and forwards the packet."
SHOWN = ANSWER.replace(STUDENT, NAME)
READ = """query($id: ID!) { node(id: $id) { ... on Submission {
  attempts { responses { text } }
  grade { ... on Grade { criteria { evidence { start end quote verified } } } } } } }"""
RUN = """query($id: ID!) { node(id: $id) { ... on GradingRun { tasks(first: 5) { nodes {
  assessments { criteria { evidence { start end quote verified } } } } } } } }"""


async def ask(context: RequestContext, document: str, key: str) -> Any:
    """The node that the operation reads."""
    result = await SCHEMA.execute(document, {"id": key}, context_value=context)
    assert result.errors is None
    assert result.data is not None
    return result.data["node"]


@dataclass
class Quoting(Members):
    """Rests each verdict on the passage where the name stood; keeps what was read."""

    read: set[str] = field(default_factory=set)

    def verdict(self, seat: Seat, request: GradeRequest) -> GradeVerdict:
        self.read.add(request.text)
        verdict = super().verdict(seat, request)
        quotes = {"quotes": [f"I, {NAME}, saw: the router"]}
        criteria = [each.model_copy(update=quotes) for each in verdict.criteria]
        return verdict.model_copy(update={"criteria": criteria})


async def graded(
    world: GradingWorld, members: Members, *, anonymous: bool
) -> tuple[SubmissionRow, UUID]:
    """A submission of the student's, and the run that graded it."""
    submission = await world.submit(ANSWER)
    async with world.database.transaction() as connection:
        await connection.execute(
            update(table_of(UserRow))
            .where(table_of(UserRow).c.id == submission.student_id)
            .values(name=STUDENT)
        )
        await connection.execute(
            update(table_of(AssignmentRow))
            .where(table_of(AssignmentRow).c.id == world.assignment.id)
            .values(anonymous=anonymous)
        )
    run_id = await world.start()
    await world.grade_all(run_id, members)
    return submission, run_id


def quotations(node: Any) -> list[Any]:
    """What the scores of a submission's grade rest on."""
    return [span for each in node["grade"]["criteria"] for span in each["evidence"]]


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_marker_reads_no_name_and_every_quotation_fits(
    grading_world: GradingWorld, anonymous: bool
) -> None:
    members = Quoting()
    submission, run_id = await graded(grading_world, members, anonymous=anonymous)
    assert members.read == {SHOWN}
    key = global_id("Submission", submission.id)
    node = await ask(await grading_world.context(), READ, key)
    (response,) = node["attempts"][0]["responses"]
    assert response["text"] == (SHOWN if anonymous else ANSWER)
    spans = quotations(node)
    assert spans
    run = await ask(await grading_world.context(), RUN, global_id("GradingRun", run_id))
    spans += [
        span
        for assessment in run["tasks"]["nodes"][0]["assessments"]
        for criterion in assessment["criteria"]
        for span in criterion["evidence"]
    ]
    assert len(spans) == 6  # of two criteria, by two graders and in the grade
    for span in spans:
        assert span["verified"]
        assert response["text"][span["start"] : span["end"]] == span["quote"]
        assert (NAME if anonymous else STUDENT) in span["quote"]
    own = await ask(await grading_world.context(submission.student_id), READ, key)
    assert own["attempts"] == [{"responses": [{"text": ANSWER}]}]
