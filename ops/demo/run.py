"""The demo: the main job from an empty folder to a released grade, over the public API."""

import asyncio
from dataclasses import dataclass
from importlib.resources import files

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.syntax import Syntax

from ops.bootstrap import create_admin, find_user
from ops.demo import documents as gql
from ops.demo import screen, story
from ops.demo.client import ApiError, Client
from ops.demo.content import DemoContent, DemoRole, load_demo_content
from ops.wiring import Resources

SLUG = "demo"
TOKEN_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Cast:
    """The demo's people, each with a client of their own."""

    resources: Resources
    http: httpx.AsyncClient
    content: DemoContent

    def emails(self, role: DemoRole) -> list[str]:
        """Addresses of the people with this role."""
        return [p.email for p in self.content.course.people_with(role)]

    async def token(self, email: str) -> str:
        """An access token, as `assay token` issues it."""
        found = await find_user(self.resources.database, slug=SLUG, email=email)
        if found is None:
            raise LookupError(email)
        user_id, organization_id = found
        return self.resources.issue_token(user_id, organization_id, TOKEN_SECONDS)

    async def client(self, email: str) -> Client:
        """A client that signs in as this person."""
        return Client(self.http, await self.token(email))


async def run_demo(resources: Resources, base_url: str, console: Console) -> None:
    """Runs all steps against the server at `base_url`. Raises `ApiError`."""
    content = load_demo_content()
    admin_person = content.course.people_with(DemoRole.ADMIN)[0]
    await create_admin(
        resources.database,
        organization=content.course.organization,
        slug=SLUG,
        email=admin_person.email,
        name=admin_person.name,
    )
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as http:
        cast = Cast(resources, http, content)
        course_id = await story.open_course(await cast.client(admin_person.email), content)
        instructor = await cast.client(cast.emails(DemoRole.INSTRUCTOR)[0])
        await _ingest(console, instructor, content, course_id)
        course = await story.write_assignment(instructor, content, course_id)
        first_student = cast.emails(DemoRole.STUDENT)[0]
        await _study(console, await cast.client(first_student), content, course_id)
        await _hand_in(console, cast, course)
        run_id = await _grade(console, instructor, course)
        lines = await story.grade_lines(instructor, content, course, run_id)
        console.print(screen.grade_table(lines))
        console.print(screen.agreement(lines, content.assignment.points) + "\n")
        await _release_one(console, cast, instructor, course, lines)
        await _show_operations(console, cast, base_url, course, run_id)


async def _ingest(
    console: Console, instructor: Client, content: DemoContent, course_id: str
) -> None:
    await story.upload_documents(instructor, content, course_id)
    with _progress(console) as progress:
        bar = progress.add_task("Ingesting documents", total=len(content.documents))
        while True:
            rows = await story.documents(instructor, course_id)
            settled = [r for r in rows if r["state"] in {"READY", "FAILED", "NO_TEXT"}]
            progress.update(bar, completed=len(settled))
            if len(settled) == len(rows) > 0:
                break
            await asyncio.sleep(0.1)
    for row in rows:
        console.print(f"  {row['title']}: {row['state']}, {row['chunkCount']} passages")


async def _study(console: Console, student: Client, content: DemoContent, course_id: str) -> None:
    question = next(q for q in content.questions if q.answerable)
    console.print(f"\n[bold]A student asks:[/bold] {question.question}")
    shown, settled = 0, None
    async for event in story.answer_events(student, course_id, question.question):
        chunk = event["chunk"]
        if chunk and chunk["offset"] + len(chunk["text"]) > shown:
            console.print(chunk["text"][max(0, shown - chunk["offset"]) :], end="", markup=False)
            shown = chunk["offset"] + len(chunk["text"])
        settled = event["message"] or settled
    if settled is not None:
        console.print(settled["text"][shown:], markup=False)
        screen.show_answer(console, settled)


async def _hand_in(console: Console, cast: Cast, course: story.Course) -> None:
    console.print()
    with _progress(console) as progress:
        bar = progress.add_task("Students hand in", total=len(cast.content.submissions))
        for submission in cast.content.submissions:
            student = await cast.client(submission.student_email)
            await story.submit(student, course, submission)
            progress.advance(bar)


async def _grade(console: Console, instructor: Client, course: story.Course) -> str:
    run = await instructor.change(
        gql.START_RUN, assignmentId=course.assignment_id, idempotencyKey=story.key("run")
    )
    follow = files("ops.demo").joinpath("operations/follow.graphql").read_text("utf-8")
    variables = {"runId": run["id"], "afterSeq": 0}
    with _progress(console) as progress:
        bar = progress.add_task("Grading run", total=None)
        async with instructor.follow(follow, variables) as events:
            async for event in events:
                done = event["run"]["progress"]
                settled = done["proposed"] + done["needsHuman"] + done["failed"]
                progress.update(
                    bar,
                    total=done["total"],
                    completed=settled,
                    description=f"Grading run {event['run']['state']}, event {event['seq']}",
                )
    return str(run["id"])


async def _release_one(
    console: Console,
    cast: Cast,
    instructor: Client,
    course: story.Course,
    lines: list[story.GradeLine],
) -> None:
    emails = cast.emails(DemoRole.STUDENT)
    line = next(
        one
        for one in sorted(lines, key=lambda one: one.email)
        if one.grade_id and one.instructor > 0 and one.state != "NEEDS_HUMAN"
    )
    student, other = await cast.client(line.email), next(e for e in emails if e != line.email)
    ask = {"submissionId": line.submission_id}
    before = (await student.ask(gql.READ_GRADE, ask))["node"]["grade"]
    if before["__typename"] == "GradeNotReleased":
        console.print(f"Before the release {line.student} reads: “{before['message']}”")
    await story.adjust_and_release(instructor, cast.content, course, line)
    console.print(
        f"The instructor adjusts {line.alias} from {line.proposed} to {line.instructor}, "
        "says why, finalises and releases it."
    )
    grade = (await student.ask(gql.READ_GRADE, ask))["node"]["grade"]
    screen.show_grade(console, line.student, grade)
    refused = await (await cast.client(other)).raw(gql.READ_GRADE, ask)
    console.print(f"Another student asks for the same submission: {refused['data']}\n")
    if refused["data"]["node"] is not None:
        raise ApiError("another student could read the grade")


async def _show_operations(
    console: Console, cast: Cast, base_url: str, course: story.Course, run_id: str
) -> None:
    console.rule("Try it yourself")
    console.print(f"GraphiQL: {base_url}/graphql (paste a token into its Headers)\n")
    for role in (DemoRole.INSTRUCTOR, DemoRole.STUDENT, DemoRole.ADMIN):
        email = cast.emails(role)[0]
        console.print(f"[bold]{role.value.lower()}[/bold] {email}, valid for 12 hours:")
        console.print(
            f'{{"Authorization": "Bearer {await cast.token(email)}"}}\n',
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    for name, variables in (
        ("grades", {"assignmentId": course.assignment_id}),
        ("adjust", {"input": {"gradeId": "…", "scores": [], "reason": "…"}}),
        ("follow", {"runId": run_id, "afterSeq": 0}),
    ):
        document = files("ops.demo").joinpath(f"operations/{name}.graphql").read_text("utf-8")
        console.print(Syntax(document, "graphql", background_color="default"))
        console.print(f"variables: {variables}\n", markup=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console
    )
