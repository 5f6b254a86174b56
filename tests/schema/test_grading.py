"""Runs and grades as a client reads them, through the whole schema."""

from typing import Any

from sqlalchemy import event

from persistence.tables.grading import GradingRunRow
from resolvers.context import RequestContext
from resolvers.global_ids import global_id
from schema.root import build_schema
from tests.grading_world import QUOTE, GradingWorld, grading_world

__all__ = ["grading_world"]

SCHEMA = build_schema()

RUN = """query($id: ID!) { node(id: $id) { ... on GradingRun {
  state pausedBecause startedAt endedAt spentMicros budgetMicros leftMicros currency
  assignment { title } startedBy { name }
  progress { total pending working proposed needsHuman failed skipped cancelled }
  tasks(first: 50, states: [PROPOSED]) { nodes { state alias generation tries costMicros
    reasons { code detail criterion { title } } failure { code }
    submission { alias } attempt { number }
    assessments { assessor slot model promptVersion question { position }
      criteria { criterion { title } level { title } points confidence rationale
        evidence { start end quote verified } } } } } } } }"""

GRADE = """query($id: ID!) { node(id: $id) { ... on Submission { grade { __typename
  ... on Grade { id state score penalty total pointsPossible feedback decidedBy reason
    decidedByUser { name } releasedAt
    criteria { criterion { title } level { title } points rationale evidence { quote } }
    versions(first: 5) { nodes { number decidedBy total } } submission { alias } }
  ... on GradeNotReleased { message gradeState: state } } } } }"""

OF_ASSIGNMENT = """query($id: ID!) { node(id: $id) { ... on Assignment {
  gradingRuns(first: 5) { nodes { state } } grades(first: 50) { nodes { total state } } } } }"""

RELEASE = """mutation($f: FinaliseGradesInput!, $r: ReleaseGradesInput!) {
  finaliseGrades(input: $f) { grades { state } userErrors { code path } }
  releaseGrades(input: $r) { grades { state } userErrors { code path } } }"""

ADJUST = """mutation($input: AdjustGradeInput!) { adjustGrade(input: $input) {
  grade { total state decidedByUser { name } } userErrors { code path message } } }"""


async def ask(context: RequestContext, document: str, **variables: Any) -> Any:
    """The data of an operation without errors."""
    result = await SCHEMA.execute(document, variables, context_value=context)
    assert result.errors is None
    return result.data


async def test_a_run_is_read_in_a_few_statements(grading_world: GradingWorld) -> None:
    statements: list[str] = []
    for _ in range(2):
        await grading_world.submit()
    run_id = await grading_world.start(budget_micros=100)
    await grading_world.grade_all(run_id)
    engine = grading_world.database.engine.sync_engine
    context = await grading_world.context()
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    node = (await ask(context, RUN, id=global_id("GradingRun", run_id)))["node"]
    assert len(statements) <= 14  # one for each relation asked for, however many tasks
    assert (node["state"], node["spentMicros"], node["currency"]) == ("COMPLETED", 60, "USD")
    assert (node["budgetMicros"], node["leftMicros"]) == (100, 40)
    assert node["assignment"] == {"title": "Routers"}
    assert node["progress"]["proposed"] == node["progress"]["total"] == 2
    task = node["tasks"]["nodes"][0]
    assert (task["state"], task["costMicros"], task["failure"]) == ("PROPOSED", 30, None)
    assert [a["slot"] for a in task["assessments"]] == ["A", "B"]
    criterion = task["assessments"][0]["criteria"][0]
    assert (criterion["points"], criterion["level"]["title"]) == ("4.000", "High")
    (span,) = criterion["evidence"]
    assert (span["quote"], span["verified"]) == (QUOTE, True)


async def test_a_grade_is_typed_before_and_after_its_release(
    grading_world: GradingWorld,
) -> None:
    submission = await grading_world.graded()
    key = global_id("Submission", submission.id)
    hidden = await ask(await grading_world.context(submission.student_id), GRADE, id=key)
    assert hidden["node"]["grade"]["__typename"] == "GradeNotReleased"
    assert hidden["node"]["grade"]["gradeState"] is None
    assert hidden["node"]["grade"]["message"]
    seen = (await ask(await grading_world.context(), GRADE, id=key))["node"]["grade"]
    assert (seen["__typename"], seen["state"]) == ("Grade", "MARKED")
    ids = {"gradeIds": [seen["id"]]}
    done = await ask(await grading_world.context(), RELEASE, f=ids, r=ids)
    assert done["finaliseGrades"] == {"grades": [{"state": "READY_FOR_RELEASE"}], "userErrors": []}
    assert done["releaseGrades"] == {"grades": [{"state": "RELEASED"}], "userErrors": []}
    read = await ask(await grading_world.context(submission.student_id), GRADE, id=key)
    grade = read["node"]["grade"]
    assert (grade["total"], grade["pointsPossible"]) == ("8.000", "10.000")
    assert [c["evidence"] for c in grade["criteria"]] == [[{"quote": QUOTE}]] * 2
    assert [v["number"] for v in grade["versions"]["nodes"]] == [1]


async def test_an_assignment_lists_its_runs_and_grades(grading_world: GradingWorld) -> None:
    await grading_world.graded()
    key = global_id("Assignment", grading_world.assignment.id)
    node = (await ask(await grading_world.context(), OF_ASSIGNMENT, id=key))["node"]
    assert node["gradingRuns"]["nodes"] == [{"state": "COMPLETED"}]
    assert node["grades"]["nodes"] == [{"total": "8.000", "state": "MARKED"}]


async def test_an_adjustment_is_refused_as_data(grading_world: GradingWorld) -> None:
    grade = await grading_world.grade(await grading_world.graded())
    score = {"criterionId": global_id("Criterion", grading_world.criteria[0].id), "points": "9"}
    given = {"gradeId": global_id("Grade", grade.id), "scores": [score], "reason": "More."}
    payload = (await ask(await grading_world.context(), ADJUST, input=given))["adjustGrade"]
    assert payload["grade"] is None
    (error,) = payload["userErrors"]
    assert (error["code"], error["path"]) == ("BAD_INPUT", ["input", "scores", "0", "points"])
    score["points"] = "5"
    stale = given | {"expectedVersion": 7}
    payload = (await ask(await grading_world.context(), ADJUST, input=stale))["adjustGrade"]
    assert payload["userErrors"][0]["code"] == "CONFLICT"
    payload = (await ask(await grading_world.context(), ADJUST, input=given))["adjustGrade"]
    assert payload["grade"] == {
        "total": "9.000",
        "state": "IN_REVIEW",
        "decidedByUser": {"name": "instructor"},
    }


async def test_another_student_s_grade_and_every_run_are_nothing_to_a_student(
    grading_world: GradingWorld,
) -> None:
    mine, other = await grading_world.submit(), await grading_world.submit()
    run_id = await grading_world.start()
    await grading_world.grade_all(run_id)
    (task, *_) = await grading_world.tasks(run_id)
    strange = await grading_world.grade(other)
    student = await grading_world.context(mine.student_id)
    for key in (
        global_id("Grade", strange.id),
        global_id("GradingRun", run_id),
        global_id("GradingTask", task.id),
        global_id("Submission", other.id),
    ):
        data = await ask(student, "query($id: ID!) { node(id: $id) { id } }", id=key)
        assert data["node"] is None


async def test_the_subscription_yields_state(grading_world: GradingWorld) -> None:
    await grading_world.graded()
    (run,) = await grading_world.rows(GradingRunRow)
    await grading_world.number()
    document = """subscription($id: ID!) { gradingRun(runId: $id, afterSeq: 0) {
      seq kind at run { state progress { proposed } } task { state alias } } }"""
    variables = {"id": global_id("GradingRun", run.id)}
    context = await grading_world.context()
    events = await SCHEMA.subscribe(document, variables, context_value=context)
    seen = []
    async for result in events:
        assert result.errors is None
        assert result.data is not None
        seen.append(result.data["gradingRun"])
    assert [e["kind"] for e in seen[:2]] == ["SNAPSHOT", "RUN_STATE"]
    assert [e["seq"] for e in seen] == list(range(len(seen)))
    assert seen[-1]["run"] == {"state": "COMPLETED", "progress": {"proposed": 1}}
