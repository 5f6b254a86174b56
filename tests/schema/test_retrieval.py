"""Search over HTTP: what is found, by whom, and that nothing leaves its scope."""

import asyncio
from typing import Any

from ops.demo import documents as gql
from ops.demo.client import Client
from tests.access.people import CALLERS, make_people
from tests.study_world import MATERIAL
from tests.world import INSTRUCTOR, STUDENTS, World

ANN = STUDENTS[0]
QUESTION = "What happens when the time to live of a packet reaches zero?"
SEARCH = """query($scope: SearchScope!, $query: String!, $first: Int! = 10, $after: String) {
  search(scope: $scope, query: $query, first: $first, after: $after) {
    nodes { score vectorRank textRank vectorScore textScore highlights { start end }
      chunk { id text document { id title } } before { text } after { text } }
    pageInfo { hasNextPage hasPreviousPage endCursor } } }"""
REVOKE = """mutation($input: RevokeRoleInput!) { revokeRole(input: $input) {
  roleGrant { id } userErrors { code } } }"""
REMOVE = """mutation($input: RemoveEnrollmentInput!) { removeEnrollment(input: $input) {
  enrollment { id } userErrors { code } } }"""
READERS = {
    "instructor", "moderator", "grader", "blind_grader", "designer", "owner", "observer",
    "classmate",
}  # fmt: skip


async def uploaded(instructor: Client, course: str, name: str, text: str) -> str:
    """The id of a document that is READY."""
    file = (name, text.encode(), "text/markdown")
    made = await instructor.upload(gql.UPLOAD, file, courseId=course)
    state = "query($id: ID!) { node(id: $id) { ... on Document { state } } }"
    async with asyncio.timeout(60):
        while (await instructor.ask(state, made))["node"]["state"] != "READY":  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.1)
    return str(made["id"])


async def found(client: Client, scope: dict[str, Any], **values: Any) -> dict[str, Any]:
    asked = {"scope": scope, "query": QUESTION} | values
    result: dict[str, Any] = (await client.ask(SEARCH, asked))["search"]
    return result


async def code_of(client: Client, scope: dict[str, Any], query: str = QUESTION, **more: Any) -> str:
    """The code of the one error; nothing is shown beside it."""
    answer = await client.raw(SEARCH, {"scope": scope, "query": query, **more})
    assert not (answer.get("data") or {}).get("search")
    (error,) = answer["errors"]
    return str(error["extensions"]["code"])


async def test_a_student_finds_the_passage_with_its_reasons(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    keys = {n: await uploaded(instructor, world.course_id, n, t) for n, t in MATERIAL.items()}
    course = {"courseIds": [world.course_id]}
    best = (await found(ann, course))["nodes"][0]
    text = best["chunk"]["text"]
    assert best["chunk"]["document"]["id"] == keys["routing.md"]
    assert (best["vectorRank"], best["textRank"]) == (1, 1)
    assert 0 < best["vectorScore"] <= 1 < best["textScore"]
    marked = [text[span["start"] : span["end"]] for span in best["highlights"]]
    assert {"time", "live", "packet", "reaches", "zero"} <= {m.casefold() for m in marked}
    assert "the" not in marked
    assert "longest matching prefix" in best["before"]["text"]
    assert best["after"] is None

    counted = (await world.http.get("/metrics")).text
    for part in ("embedding", "database"):
        assert f'assay_search_seconds_count{{caller="api",part="{part}"}} 1.0' in counted

    chosen = {"documentIds": [keys["transport.md"]]}
    titles = {n["chunk"]["document"]["title"] for n in (await found(ann, chosen))["nodes"]}
    assert titles == {"transport"}


async def test_pages_are_the_whole_list_in_its_order(world: World) -> None:
    instructor, ann = await world.client(INSTRUCTOR), await world.client(ANN)
    text = "\n\n".join(f"# Part {n}\n\nA packet of the kind {n} lives {n} hops." for n in range(7))
    await uploaded(instructor, world.course_id, "parts.md", text)
    course = {"courseIds": [world.course_id]}
    whole = [n["chunk"]["id"] for n in (await found(ann, course, first=100))["nodes"]]
    assert len(set(whole)) == 7
    read: list[str] = []
    after: str | None = None
    while True:
        page = await found(ann, course, first=3, after=after)
        read += [n["chunk"]["id"] for n in page["nodes"]]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert read == whole
    for cursor in ("x", "bmFu", after[:-3] if after else "", "WyJuYW4iLCAieCJd"):
        assert await code_of(ann, course, after=cursor) == "BAD_INPUT"


async def test_what_is_no_search_is_refused(world: World) -> None:
    ann = await world.client(ANN)
    course = {"courseIds": [world.course_id]}
    assert (await found(ann, course))["nodes"] == []  # nothing was ever indexed
    for query in ("", "   ", "x" * 1_001, "a\0b", "\u202e"):
        assert await code_of(ann, course, query) == "BAD_INPUT"
    for scope in (
        {},
        {"courseIds": []},
        {"courseIds": [world.course_id] * 101},
        {"courseIds": [world.course_id], "documentIds": []},
        {"courseIds": ["no id"]},
    ):
        assert await code_of(ann, scope) in {"BAD_INPUT", "NOT_FOUND", "LIMIT_EXCEEDED"}
    for first in (0, 101):
        assert await code_of(ann, course, first=first) in {"BAD_INPUT", "LIMIT_EXCEEDED"}


async def test_nothing_is_found_from_outside(world: World) -> None:
    people = await make_people(world)
    course, document = people.objects["Course"], people.objects["Document"]
    met = {}
    for caller in CALLERS:
        client = people.clients[caller]
        for scope in ({"courseIds": [course]}, {"documentIds": [document]}):
            answer = await client.raw(SEARCH, {"scope": scope, "query": QUESTION})
            errors = answer.get("errors")
            code = errors[0]["extensions"]["code"] if errors else "found"
            if not errors:
                assert answer["data"]["search"]["nodes"]
            met.setdefault(caller, []).append(code)
    assert {c for c, codes in met.items() if codes == ["found", "found"]} == READERS
    assert met["anonymous"] == ["UNAUTHENTICATED"] * 2
    assert met["admin"] == met["auditor"] == ["FORBIDDEN", "NOT_FOUND"]
    strangers = ("other_instructor", "other_student", "nobody", "foreign_admin")
    for stranger in strangers:
        assert met[stranger][1] == "NOT_FOUND"
        assert met[stranger][0] in {"NOT_FOUND", "FORBIDDEN"}
    # the same words, asked where they may ask, find nothing of the other course
    mine = await people.clients["other_instructor"].ask("{ courses { nodes { id } } }")
    (own,) = [c["id"] for c in mine["courses"]["nodes"]]
    assert (await found(people.clients["other_instructor"], {"courseIds": [own]}))["nodes"] == []


async def test_search_ends_with_the_role(world: World) -> None:
    people = await make_people(world)
    scope, instructor = {"courseIds": [world.course_id]}, people.clients["instructor"]
    grader, owner = people.clients["grader"], people.clients["owner"]
    assert (await found(grader, scope))["nodes"]
    assert (await found(owner, scope))["nodes"]
    await instructor.change(REVOKE, roleGrantId=people.objects["RoleGrant"], reason="Over")
    await instructor.change(REMOVE, enrollmentId=people.objects["Enrollment"])
    document = {"documentIds": [people.objects["Document"]]}
    for client in (grader, owner):
        assert await code_of(client, scope) == "NOT_FOUND"
        assert await code_of(client, document) == "NOT_FOUND"
