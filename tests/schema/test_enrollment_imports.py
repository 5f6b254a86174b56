"""A course is enrolled from a CSV file: judged row by row, written whole or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.demo.client import Client
from resolvers.enrollment_sheets import MOST_BYTES, SheetRow, read_sheet
from resolvers.refusals import Refusal
from tests.schema.test_audit import changes, events
from tests.world import ADMIN, INSTRUCTOR, STUDENTS, World

ANN, BOB, CEM = STUDENTS
IMPORT = """mutation($input: ImportEnrollmentsInput!) { importEnrollments(input: $input) {
  enrollmentImport { written rows { line email outcome message }
    enrolled: count(outcome: ENROLLED) created: count(outcome: CREATED) }
  userErrors { code message path } } }"""
ENROLLED = """query($id: ID!) { node(id: $id) { ... on Course {
  enrollments(first: 100) { nodes { state user { email name } } } } } }"""


async def sent(
    world: World, who: Client, data: bytes, **values: Any
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """What came of a file: the import, or why it was refused."""
    given = {"courseId": world.course_id, "file": None} | values
    operations = {"query": IMPORT, "variables": {"input": given}}
    response = await world.http.post(
        "/graphql",
        data={"operations": json.dumps(operations), "map": '{"0": ["variables.input.file"]}'},
        files={"0": ("people.csv", data, "text/csv")},
        headers=who._headers() | {"GraphQL-Require-Preflight": "1"},  # noqa: SLF001 - as the client sends
    )
    answer = response.json()
    assert "errors" not in answer, answer
    payload = answer["data"]["importEnrollments"]
    return payload["enrollmentImport"], payload["userErrors"]


async def imported(world: World, who: Client, data: bytes, **values: Any) -> dict[str, Any]:
    done, errors = await sent(world, who, data, **values)
    assert done is not None, errors
    return done


async def members(world: World) -> dict[str, str]:
    """Who is enrolled, with their states."""
    nodes = (await (await world.client(INSTRUCTOR)).ask(ENROLLED, {"id": world.course_id}))["node"]
    return {e["user"]["email"]: e["state"] for e in nodes["enrollments"]["nodes"]}


async def test_an_admin_enrols_known_and_new_people(world: World) -> None:
    admin = await world.client(ADMIN)
    data = "\ufeffName;E-Mail;Matriculation\r\nNil Aksoy;NEW@example.edu;7\r\n\r\n"
    data += f"Ann;{ANN};8\r\nTwice;new@example.edu;9\r\n"
    dry = await imported(world, admin, data.encode(), createMissing=True, dryRun=True)
    assert not dry["written"]
    assert "new@example.edu" not in await members(world)
    done = await imported(world, admin, data.encode(), createMissing=True)
    assert (done["written"], done["enrolled"], done["created"]) == (True, 0, 1)
    assert done["rows"] == dry["rows"]
    assert [(r["line"], r["email"], r["outcome"]) for r in done["rows"]] == [
        (2, "new@example.edu", "CREATED"),
        (4, ANN, "ALREADY"),
        (5, "new@example.edu", "ALREADY"),
    ]
    assert done["rows"][2]["message"] == "The address of line 2."
    assert (await members(world))["new@example.edu"] == "ACTIVE"
    (event, _) = await events(admin, action="importEnrollments")
    assert len(event["objectIds"]) == 1
    assert changes(event)["createMissing"] == "true"
    assert "new@example.edu" not in json.dumps(event)


async def test_a_wrong_row_leaves_everything_as_it_was(world: World) -> None:
    instructor, admin = await world.client(INSTRUCTOR), await world.client(ADMIN)
    await admin.change(
        "mutation($input: CreateUsersInput!) { createUsers(input: $input) { users { id }"
        " userErrors { code } } }",
        users=[{"email": "known@example.edu", "name": "Known"}],
    )
    data = "email,name\nknown@example.edu,K\nwho@example.edu,\nno address,x\n"
    data += f"{INSTRUCTOR},I\n,x\na@b.c,d,e\n"
    done = await imported(world, instructor, data.encode())
    assert not done["written"]
    outcomes = [r["outcome"] for r in done["rows"]]
    assert outcomes == ["ENROLLED", "UNKNOWN", "INVALID", "INVALID", "INVALID", "INVALID"]
    assert "known@example.edu" not in await members(world)
    done = await imported(world, instructor, b"email\tname\nknown@example.edu\tK\n")
    assert done["written"]
    assert (await members(world))["known@example.edu"] == "ACTIVE"
    # A person who is not known needs a name that can be seen.
    done = await imported(
        world, admin, b"email,name\nx@example.edu,\ny@example.edu,\x07\n", createMissing=True
    )
    assert [r["outcome"] for r in done["rows"]] == ["INVALID", "INVALID"]


async def test_a_replay_does_nothing_twice(world: World) -> None:
    instructor = await world.client(INSTRUCTOR)
    data = f"email\n{ANN}\n".encode()
    assert (await imported(world, instructor, data, idempotencyKey="k"))["rows"]
    again = await imported(world, instructor, data, idempotencyKey="k")
    assert (again["written"], again["rows"], again["enrolled"]) == (None, None, None)
    _, errors = await sent(world, instructor, b"email\nx@example.edu\n", idempotencyKey="k")
    assert errors[0]["code"] == "IDEMPOTENCY_CONFLICT"


async def test_who_may_import(world: World) -> None:
    data = f"email\n{ANN}\n".encode()
    for email, values, code in [
        (ANN, {}, "FORBIDDEN"),
        (INSTRUCTOR, {"createMissing": True}, "FORBIDDEN"),
    ]:
        done, errors = await sent(world, await world.client(email), data, **values)
        assert (done, errors[0]["code"]) == (None, code)
    values = {"courseId": world.course_id, "file": "no file"}
    answer = await (await world.client(INSTRUCTOR)).raw(IMPORT, {"input": values})
    assert answer["data"]["importEnrollments"]["userErrors"][0]["code"] == "BAD_INPUT"


async def test_ten_thousand_are_enrolled_at_once(world: World) -> None:
    rows = "".join(f"s{n}@example.edu,Student {n}\n" for n in range(10_000))
    admin = await world.client(ADMIN)
    done = await imported(world, admin, ("email,name\n" + rows).encode(), createMissing=True)
    assert (done["written"], done["created"]) == (True, 10_000)
    done = await imported(world, admin, ("email\n" + rows.replace(",", " ,")).encode()[:5_000])
    assert {r["outcome"] for r in done["rows"]} <= {"ALREADY", "INVALID"}
    _, errors = await sent(world, admin, ("email,name\n" + rows + "one@more.edu,M\n").encode())
    assert errors[0]["code"] == "TOO_LARGE"


HOSTILE = {
    "nothing": (b"", "BAD_INPUT"),
    "a header alone": (b"email,name\n", "BAD_INPUT"),
    "no header": (b"ann@example.edu\n", "BAD_INPUT"),
    "two address columns": (b"email,E-Mail\na@b.cd,e@f.gh\n", "BAD_INPUT"),
    "binary": (bytes(range(1, 256)) * 100, "UNSUPPORTED_FILE"),
    "NUL": (b"email\nann\0@example.edu\n", "UNSUPPORTED_FILE"),
    "UTF-16": ("email\nann@example.edu\n".encode("utf-16"), "UNSUPPORTED_FILE"),
    "Latin-1": ("email,name\na@b.cd,Ümit\n".encode("latin-1"), "UNSUPPORTED_FILE"),
    "a long line": (b"email\n" + b"x" * (MOST_BYTES - 10), "BAD_INPUT"),
    "a file too long": (b"email\n" + b"x" * MOST_BYTES, "TOO_LARGE"),
    "many columns": (b"email\n" + b"," * 1_000_000, "BAD_INPUT"),
    "many columns in the header": (b"," * 1_000_000 + b"email\n", "BAD_INPUT"),
    "a quote left open": (b'email,name\nann@example.edu,"Ann\nbob@example.edu,B\n', "BAD_INPUT"),
    "a stray quote": (b'email,name\nann@example.edu,"A"nn\n', "BAD_INPUT"),
    "a quote in the header": (b'"email\n', "BAD_INPUT"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_no_such_file_is_refused(world: World, name: str) -> None:
    data, code = HOSTILE[name]
    done, errors = await sent(world, await world.client(INSTRUCTOR), data)
    assert (done, errors[0]["code"], errors[0]["path"]) == (None, code, ["input", "file"])


def test_a_cell_may_hold_what_separates() -> None:
    data = b'Name,EMAIL\n"Doe, ""J""\nJane",jane@example.edu\nX,x@example.edu\n'
    assert read_sheet(data) == [
        SheetRow(2, "jane@example.edu", 'Doe, "J"\nJane'),
        SheetRow(4, "x@example.edu", "X"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b'"Name";"E-mail"\n"Jane";"jane@example.edu"\n',
        b"email\tname\r\njane@example.edu\tJane\r\n",
        b"email,name\rjane@example.edu,Jane\r",
        b'"e-mail ","full  name"\n\n"jane@example.edu","Jane"',
    ],
)
def test_what_spreadsheets_write_is_read(data: bytes) -> None:
    ((row,),) = [read_sheet(data)]
    assert (row.email, row.name) == ("jane@example.edu", "Jane")


@given(st.binary(max_size=400))
def test_any_bytes_are_rows_or_a_refusal(data: bytes) -> None:
    for prefix in (b"", b"email,name\n"):
        try:
            rows = read_sheet(prefix + data)
        except Refusal:
            continue
        assert rows
