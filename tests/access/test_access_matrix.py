"""Who meets which field with what: the committed matrix is the decision, this compares.

A field that is not in the matrix fails, so adding one means deciding. After a decision:
`WRITE_ACCESS_MATRIX=1 .venv/bin/pytest tests/access`, then read the diff.
"""

import csv
import json
import logging
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from resolvers.access import ROLES
from schema.fields import PERMISSIONS
from schema.root import build_schema
from tests.access.people import CALLERS, GLASSES, MARKERS, People, make_people
from tests.access.walk import ABSENT, Walk, outcomes
from tests.world import World

MATRIX = Path(__file__).with_name("access_matrix.csv")
SCHEMA = build_schema()._schema  # noqa: SLF001 - strawberry shows it under no other name
STRANGERS = ("other_instructor", "other_student", "nobody", "foreign_admin", "anonymous")
logger = logging.getLogger(__name__)
ROOTS = {
    "Query.viewer": "{ viewer { name } }",
    "Query.courses": "{ courses { nodes { id } } }",
    "Query.apiTokens": "{ apiTokens { nodes { id } } }",
    "Query.approvedProviders": "{ approvedProviders { id } }",
    "Query.customRoles": "{ customRoles { nodes { id } } }",
    "Query.invitations": "query($c: ID!) { invitations(courseId: $c) { nodes { id } } }",
    "Query.dataFlows": "{ dataFlows { feature } }",
    "Query.availableModels": "query($c: ID!) { availableModels(courseId: $c) { name } }",
    "Query.modelUsage": "{ modelUsage(scope: ORGANIZATION) { nodes { id } } }",
    "Query.modelUsage (course)": "query($c: ID!) "
    "{ modelUsage(scope: COURSE, courseId: $c) { nodes { id } } }",
    "Query.modelUsage (own)": "{ modelUsage(scope: OWN) { nodes { id } } }",
    "Query.modelUsageTotals": "{ modelUsageTotals(scope: ORGANIZATION, by: []) "
    "{ nodes { requests } } }",
    "Query.modelUsageTotals (course)": "query($c: ID!) "
    "{ modelUsageTotals(scope: COURSE, courseId: $c, by: []) { nodes { requests } } }",
    "Query.breakGlasses": "{ breakGlasses { nodes { id } } }",
    "Query.auditEvents": "{ auditEvents { nodes { id } } }",
    "Query.roleGrants": "{ roleGrants { nodes { id } } }",
    "Query.memoryFacts": "{ memoryFacts { nodes { id } } }",
    "Query.sharedStudySessions": "query($c: ID!) "
    "{ sharedStudySessions(courseId: $c) { nodes { id } } }",
    "Query.viewerCan": "query($c: ID!) { viewerCan(permission: VIEWER_READ, courseId: $c) }",
    "Query.explainAccess": "query($c: ID!, $u: ID!) { "
    "explainAccess(userId: $u, permission: STUDY_ASK, courseId: $c) { allowed } }",
    "Query.search": "query($c: ID!) { "
    'search(scope: {courseIds: [$c]}, query: "packet") { nodes { score vectorRank textRank '
    "vectorScore textScore highlights { start end } chunk { id } before { id } after { id } } } }",
    "Query.node": "query($c: ID!) { node(id: $c) { id } }",
}
FOLLOWED = {
    "Subscription.documentProgress": (
        "Document",
        "subscription($id: ID!) { documentProgress(documentId: $id) { seq } }",
    ),
    "Subscription.gradingRun": (
        "GradingRun",
        "subscription($id: ID!) { gradingRun(runId: $id, afterSeq: 0) { seq } }",
    ),
    "Subscription.studyMessage": (
        "StudySession",
        "subscription($id: ID!) { studyMessage(sessionId: $id) { seq } }",
    ),
    "Subscription.studyMessage (shared)": (
        "StudySession (shared)",
        "subscription($id: ID!) { studyMessage(sessionId: $id) { seq } }",
    ),
}

Matrix = dict[str, dict[str, str]]


async def test_the_matrix_is_as_it_was_decided(world: World) -> None:
    people = await make_people(world)
    walk = Walk(SCHEMA)
    matrix: Matrix = {}
    for caller in CALLERS:
        async for row, cell in cells(people, walk, caller):
            matrix.setdefault(row, {})[caller] = cell
    assert walk.undecided() <= reached_otherwise()
    shown = written(matrix)
    if os.environ.get("WRITE_ACCESS_MATRIX"):
        MATRIX.write_text(shown)
    size = (len(matrix), len(CALLERS), len(matrix) * len(CALLERS))
    logger.info("%d rows x %d callers = %d cells", *size)
    known, found = set(MATRIX.read_text().splitlines()), set(shown.splitlines())
    assert (sorted(found - known), sorted(known - found)) == ([], [])


async def cells(people: People, walk: Walk, caller: str) -> Any:
    client, objects = people.clients[caller], people.objects
    for name, key in objects.items():
        type_name = name.partition(" ")[0]
        for field, asked in walk.fields(type_name):
            document = f"query($id: ID!) {{ node(id: $id) {{ ... on {type_name} {{ {asked} }} }} }}"
            answer = await client.raw(document, {"id": key})
            found = (answer.get("data") or {}).get("node")
            below = outcomes(found, answer.get("errors", []), ("node",))
            yield f"{name}.{field}", _cell(below, ("node", field))
            for path, outcome in below.items():
                if len(path) > 2 and path[1] == field:
                    yield f"{name}." + ".".join(path[1:]), outcome
    ids = {"c": objects["Course"], "u": objects["User"]}
    for row, document in ROOTS.items():
        used = {k: v for k, v in ids.items() if f"${k}:" in document}
        answer = await client.raw(document, used)
        field = row.partition(".")[2].partition(" ")[0]
        below = outcomes(answer.get("data"), answer.get("errors", []), ())
        yield row, _cell(below, (field,))
    for row, (name, document) in FOLLOWED.items():
        yield row, await _followed(client, document, objects[name])


def _cell(found: dict[tuple[str, ...], str], path: tuple[str, ...]) -> str:
    for end in range(len(path), -1, -1):
        if path[:end] in found:
            return found[path[:end]] if end == len(path) or found[path[:end]] != "empty" else ABSENT
    return ABSENT


async def _followed(client: Any, document: str, key: str) -> str:
    """Over server-sent events, which also take a caller without a token."""
    headers = client._headers() | {"Accept": "text/event-stream"}  # noqa: SLF001 - as the client sends
    body = {"query": document, "variables": {"id": key}}
    async with client._http.stream("POST", "/graphql", json=body, headers=headers) as response:  # noqa: SLF001 - as above
        async for line in response.aiter_lines():
            if line.startswith(("data: {", "{")):
                answer = json.loads(line.removeprefix("data: "))
                errors = answer.get("errors")
                return str(errors[0]["extensions"]["code"]) if errors else "value"
    raise AssertionError("the stream ended without an event")


def reached_otherwise() -> set[str]:
    """Fields that only an event or a root field shows."""
    types = {"Viewer", "Access", "GradingRunEvent", "StudyEvent", "AnswerChunk"}
    types |= {"DocumentProgressEvent", "Impersonation", "PersonalData", "DataFlow"}
    types |= {"AvailableModel", "ModelPrice", "ModelProblem", "ModelUsage", "ModelUsageTotal"}
    types |= {"EnrollmentImport", "ImportedEnrollment", "SearchHit", "TextSpan"}
    return {f"{t}.{f}" for t in types for f in getattr(SCHEMA.type_map.get(t), "fields", {})}


def written(matrix: Matrix) -> str:
    out = StringIO()
    sheet = csv.writer(out, lineterminator="\n")
    sheet.writerow(["field", *CALLERS])
    for row in sorted(matrix):
        sheet.writerow([row, *(matrix[row].get(caller, ABSENT) for caller in CALLERS)])
    for (kind, name), permission in sorted(PERMISSIONS.items()):
        if kind == "mutation":
            roles = " ".join(sorted(ROLES[permission]))
            sheet.writerow([f"Mutation.{name}", f"{permission.value}: {roles}"])
    return out.getvalue()


@pytest.fixture(scope="module")
def decided() -> list[dict[str, str]]:
    with MATRIX.open() as file:
        return list(csv.DictReader(file))


def rows(decided: list[dict[str, str]], *prefixes: str) -> Iterator[dict[str, str]]:
    """The rows of these objects."""
    found = [row for row in decided if row["field"].startswith(prefixes)]
    assert found
    return iter(found)


NODES = tuple(f"{name}" for name in Walk(SCHEMA).nodes)


def test_strangers_meet_nothing(decided: list[dict[str, str]]) -> None:
    for row in rows(decided, *NODES):
        for caller in STRANGERS:
            if row["field"].startswith("Organization") and caller != "foreign_admin":
                continue
            if row["field"].startswith("CustomRole") and caller == "other_instructor":
                continue  # who gives roles in a course chooses among the organization's
            assert row[caller] in {"absent", "UNAUTHENTICATED"}, row


def test_a_classmate_meets_nothing_of_another_student(decided: list[dict[str, str]]) -> None:
    names = ("Submission.", "Submission (anon", "Attempt.", "Attempt (anon", "Grade (released)")
    for row in rows(decided, *names, "StudySession", "Message", "MemoryFact", "Enrollment"):
        assert row["classmate"] == "absent", row


def only(decided: list[dict[str, str]], callers: set[str], *prefixes: str) -> None:
    """Each of `callers` meets the objects, nobody else does."""
    met: set[str] = set()
    for row in rows(decided, *prefixes):
        found = {c for c in CALLERS if row[c] not in {"absent", "UNAUTHENTICATED"}}
        assert found <= callers, row
        met |= found
    assert met == callers


def test_only_its_owner_meets_a_study_session(decided: list[dict[str, str]]) -> None:
    only(decided, {"owner", *GLASSES}, "StudySession.", "Message.")
    only(decided, {"owner"}, "MemoryFact.")


def test_a_shared_session_is_met_by_the_instructor_as_well(decided: list[dict[str, str]]) -> None:
    for row in rows(decided, "StudySession (shared)", "Message (shared)"):
        assert row["instructor"] == row["owner"], row
    shown = {"owner", "instructor", *GLASSES}
    only(decided, shown, "StudySession (shared)", "Message (shared)")


def test_a_grade_before_its_release_is_the_staffs(decided: list[dict[str, str]]) -> None:
    graders = {"instructor", "auditor", *GLASSES}
    only(decided, graders, "Grade (a classmate's, marked)")
    only(decided, graders | set(MARKERS), "Grade (allocated, marked)")
    only(decided, {"instructor", *GLASSES}, "GradingTask (not allocated)")
    only(decided, {"instructor", *GLASSES, *MARKERS}, "GradingTask.")


def test_markers_meet_what_is_allocated_to_them(decided: list[dict[str, str]]) -> None:
    only(decided, {"instructor", "classmate", *GLASSES}, "Submission (not", "Attempt (not")
    for row in rows(decided, "Submission.id", "Attempt.id", "Grade (allocated, marked).id"):
        assert {row[marker] for marker in MARKERS} == {"value"}, row


def test_who_marks_blind_meets_nobody_and_no_moment(decided: list[dict[str, str]]) -> None:
    hidden = ("student", "submittedAt", "lateBySeconds", "sha256")
    asked = 0
    for row in rows(decided, "Submission", "Attempt", "Grade"):
        if row["field"].rpartition(".")[2] in hidden:
            assert row["blind_grader"] in {"empty", "absent"}, row
            asked += row["grader"] == "value"
    assert asked >= len(hidden)


def test_anonymous_marking_names_nobody(decided: list[dict[str, str]]) -> None:
    for field in (
        "Submission (anonymous marking).student",
        "Attempt (anonymous marking).submitted",
        "Attempt (anonymous marking).late",
        "Attempt (anonymous marking).sha256",
    ):
        (row,) = rows(decided, field)
        assert {row[c] for c in ("instructor", *GLASSES, *MARKERS)} == {"empty"}, row
        assert row["owner"] == "value", row


def test_an_observer_meets_the_released_grade_and_not_the_work(
    decided: list[dict[str, str]],
) -> None:
    for row in rows(decided, "Submission", "Attempt", "Grade (a classmate's, marked)"):
        assert row["observer"] == "absent", row
    cells = {row["field"]: row["observer"] for row in rows(decided, "Grade (released)")}
    assert cells["Grade (released).total"] == cells["Grade (released).student"] == "value"
    assert cells["Grade (released).submission"] == "empty"
