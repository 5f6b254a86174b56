"""What the demo does, step by step, as clients of the public API would."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ops.demo import documents as gql
from ops.demo.client import Client
from ops.demo.content import DemoContent, DemoRole, DemoSubmission

SETTLED = {"COMPLETE", "ABSTAINED", "FAILED", "CANCELLED"}


@dataclass(frozen=True)
class Course:
    """What was set up, by the API's ids."""

    course_id: str
    assignment_id: str
    question_id: str
    criteria: Mapping[str, str]
    """Criterion id by the key it has in the demo's content."""


@dataclass
class GradeLine:
    """One line of the grade table."""

    alias: str
    student: str
    trait: str
    grade_id: str | None
    state: str
    proposed: Decimal | None
    instructor: Decimal
    reasons: list[str] = field(default_factory=list)
    submission_id: str = ""
    email: str = ""


def key(name: str) -> str:
    """The idempotency key of a step: a second demo on the same data finds the first one's work."""
    return f"demo:{name}"


async def open_course(admin: Client, content: DemoContent) -> str:
    """People, course, roles, enrolments; returns the course's id."""
    people = [{"email": p.email, "name": p.name} for p in content.course.people]
    users = await admin.change(gql.CREATE_USERS, users=people, idempotencyKey=key("users"))
    ids = {user["email"]: user["id"] for user in users}
    course = await admin.change(
        gql.CREATE_COURSE,
        code=content.course.code,
        title=content.course.title,
        language=content.course.language,
        timeZone=content.course.time_zone,
        idempotencyKey=key("course"),
    )
    for person in content.course.people_with(DemoRole.INSTRUCTOR):
        await admin.change(
            gql.GRANT_ROLE,
            userId=ids[person.email],
            role="INSTRUCTOR",
            courseId=course["id"],
            reason="Teaches the course",
            idempotencyKey=key(f"instructor:{person.email}"),
        )
    await admin.change(
        gql.ENROL,
        courseId=course["id"],
        emails=[p.email for p in content.course.people_with(DemoRole.STUDENT)],
        idempotencyKey=key("enrol"),
    )
    return str(course["id"])


async def write_assignment(instructor: Client, content: DemoContent, course_id: str) -> Course:
    """The rubric, the assignment and its anchor papers, all published."""
    wanted = content.assignment
    rubric = await _rubric(instructor, content, course_id)
    made = rubric["versions"][0]["criteria"]
    criteria = {c.key: m["id"] for c, m in zip(wanted.criteria, made, strict=True)}
    await instructor.change(
        gql.PUBLISH_RUBRIC, rubricId=rubric["id"], idempotencyKey=key("publish-rubric")
    )
    assignment = await instructor.change(
        gql.CREATE_ASSIGNMENT,
        courseId=course_id,
        title=wanted.title,
        kind=wanted.kind,
        aiPolicy=wanted.ai_policy,
        questions=[
            {
                "prompt": wanted.prompt,
                "points": str(wanted.points),
                "referenceAnswer": wanted.reference_answer,
                "rubricId": rubric["id"],
            }
        ],
        idempotencyKey=key("assignment"),
    )
    question_id = assignment["questions"][0]["id"]
    for paper in content.exemplars:
        await instructor.change(
            gql.CREATE_ANCHOR_PAPER,
            questionId=question_id,
            text=paper.text,
            marks=[{"criterionId": criteria[k], "points": str(p)} for k, p in paper.marks.items()],
            idempotencyKey=key(f"anchor:{paper.key}"),
        )
    await instructor.change(
        gql.PUBLISH_ASSIGNMENT, assignmentId=assignment["id"], idempotencyKey=key("publish")
    )
    return Course(course_id, assignment["id"], question_id, criteria)


async def _rubric(instructor: Client, content: DemoContent, course_id: str) -> dict[str, Any]:
    wanted = content.assignment
    rubric: dict[str, Any] = await instructor.change(
        gql.CREATE_RUBRIC,
        courseId=course_id,
        title=wanted.title,
        criteria=[
            {
                "title": c.title,
                "guidelines": c.guidelines,
                "points": str(c.points),
                "levels": [
                    {
                        "title": level.title,
                        "description": level.description,
                        "minPoints": str(level.min_points),
                        "maxPoints": str(level.max_points),
                    }
                    for level in c.levels
                ],
            }
            for c in wanted.criteria
        ],
        idempotencyKey=key("rubric"),
    )
    return rubric


async def upload_documents(instructor: Client, content: DemoContent, course_id: str) -> None:
    """Hands the course's material in."""
    for document in content.documents:
        await instructor.upload(
            gql.UPLOAD,
            (document.file, document.text.encode(), "text/markdown"),
            courseId=course_id,
            title=document.title,
            idempotencyKey=key(f"document:{document.key}"),
        )


async def documents(instructor: Client, course_id: str) -> list[dict[str, Any]]:
    """The course's documents as they stand."""
    data = await instructor.ask(gql.DOCUMENTS, {"courseId": course_id})
    nodes: list[dict[str, Any]] = data["node"]["documents"]["nodes"]
    return nodes


async def submit(student: Client, course: Course, submission: DemoSubmission) -> None:
    """One student hands in."""
    await student.change(
        gql.SUBMIT,
        assignmentId=course.assignment_id,
        responses=[{"questionId": course.question_id, "text": submission.text}],
        idempotencyKey=key("submit"),
    )


async def pages(client: Client, query: str, variables: dict[str, Any], noun: str) -> list[Any]:
    """All rows of a connection of a node, page by page."""
    rows: list[Any] = []
    after = None
    while True:
        data = await client.ask(query, variables | {"after": after})
        page = data["node"][noun]
        rows += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return rows
        after = page["pageInfo"]["endCursor"]


async def grade_lines(
    instructor: Client, content: DemoContent, course: Course, run_id: str
) -> list[GradeLine]:
    """What the run proposed beside what the instructor of the demo gave."""
    marked = {s.student_email: s for s in content.submissions}
    tasks = await pages(instructor, gql.TASKS, {"runId": run_id}, "tasks")
    reasons = {t["submission"]["id"]: t for t in tasks}
    lines = []
    for row in await pages(
        instructor, gql.GRADES, {"assignmentId": course.assignment_id}, "submissions"
    ):
        grade, mark = row["grade"], marked[row["student"]["email"]]
        has_grade = grade["__typename"] == "Grade"
        task = reasons.get(row["id"], {"state": "NOT_GRADED", "reasons": []})
        lines.append(
            GradeLine(
                alias=row["alias"],
                student=row["student"]["name"],
                email=row["student"]["email"],
                trait=mark.trait,
                grade_id=grade["id"] if has_grade else None,
                state=task["state"],
                proposed=Decimal(grade["score"]) if has_grade else None,
                instructor=sum(mark.marks.values(), Decimal(0)),
                reasons=list(dict.fromkeys(r["code"] for r in task["reasons"])),
                submission_id=row["id"],
            )
        )
    return sorted(lines, key=lambda line: line.alias)


async def answer_events(
    student: Client, course_id: str, question: str
) -> AsyncIterator[dict[str, Any]]:
    """Asks in a new session and gives the events of the answer until it is settled."""
    session = await student.change(gql.CREATE_SESSION, courseId=course_id, title=question[:80])
    async with student.follow(gql.STUDY, {"sessionId": session["id"]}) as events:
        await student.change(gql.ASK, sessionId=session["id"], text=question)
        async for event in events:
            yield event
            message = event["message"]
            if message and message["author"] == "TUTOR" and message["state"] in SETTLED:
                return


async def adjust_and_release(
    instructor: Client, content: DemoContent, course: Course, line: GradeLine
) -> dict[str, Any]:
    """The instructor's own marks, with a reason; then final, then released."""
    marks = next(s for s in content.submissions if s.student_email == line.email)
    adjusted: dict[str, Any] = await instructor.change(
        gql.ADJUST,
        gradeId=line.grade_id,
        scores=[
            {"criterionId": course.criteria[k], "points": str(p)} for k, p in marks.marks.items()
        ],
        reason=marks.comment,
        idempotencyKey=key("adjust"),
    )
    await instructor.change(gql.FINALISE, gradeIds=[line.grade_id], idempotencyKey=key("finalise"))
    await instructor.change(gql.RELEASE, gradeIds=[line.grade_id], idempotencyKey=key("release"))
    return adjusted
