"""A small world for tests: one organization, its people, a course; each person a client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import httpx

from ops.bootstrap import create_admin, find_user
from ops.demo import documents as gql
from ops.demo.client import Client
from ops.wiring import Resources

SLUG = "test"
ADMIN, INSTRUCTOR = "admin@example.edu", "instructor@example.edu"
STUDENTS = ["ann@example.edu", "bob@example.edu", "cem@example.edu"]
APPROVE = """mutation($input: ApproveProviderInput!) { approveProvider(input: $input) {
  approvedProvider { id provider region reason createdAt withdrawnAt approvedBy { email } }
  userErrors { code message path } } }"""
LEVELS = [("None", 0, 1), ("Some", 1, 3), ("Full", 3, 5)]


@dataclass
class World:
    """Who and what there is, by the API's ids."""

    resources: Resources
    http: httpx.AsyncClient
    course_id: str = ""
    rubric_id: str = ""
    criteria: list[str] = field(default_factory=list)

    async def token(self, email: str, lasting: timedelta = timedelta(minutes=15)) -> str:
        """An access token of this person."""
        found = await find_user(self.resources.database, slug=SLUG, email=email)
        assert found is not None
        return self.resources.issue_token(*found, int(lasting.total_seconds()))

    async def client(self, email: str) -> Client:
        """A client that signs in as this person."""
        return Client(self.http, await self.token(email))

    async def user_id(self, email: str) -> UUID:
        """The person's row id."""
        found = await find_user(self.resources.database, slug=SLUG, email=email)
        assert found is not None
        return found[0]

    async def assignment(self, **values: object) -> tuple[str, str, list[str]]:
        """A published assignment with one question; its id, the question's, the criteria's."""
        instructor = await self.client(INSTRUCTOR)
        if not self.rubric_id:
            self.rubric_id, self.criteria = await self._rubric(instructor)
        question = {
            "prompt": "What does a router do with a packet?",
            "points": "10",
            "referenceAnswer": "It reads the destination address, looks it up in its table and "
            "forwards the packet to the next hop. It lowers the time to live.",
            "rubricId": self.rubric_id,
        }
        assignment = await instructor.change(
            gql.CREATE_ASSIGNMENT,
            **{
                "courseId": self.course_id,
                "title": "Routers",
                "kind": "SHORT_ANSWER",
                "questions": [question],
            }
            | values,
        )
        await instructor.change(gql.PUBLISH_ASSIGNMENT, assignmentId=assignment["id"])
        return assignment["id"], assignment["questions"][0]["id"], self.criteria

    async def _rubric(self, instructor: Client) -> tuple[str, list[str]]:
        levels = [
            {"title": t, "description": t, "minPoints": str(a), "maxPoints": str(b)}
            for t, a, b in LEVELS
        ]
        rubric = await instructor.change(
            gql.CREATE_RUBRIC,
            courseId=self.course_id,
            title="Two criteria",
            criteria=[
                {"title": t, "guidelines": g, "points": "5", "levels": levels}
                for t, g in (
                    ("Forwarding", "Destination address, table, next hop"),
                    ("Lifetime", "Time to live"),
                )
            ],
        )
        await instructor.change(gql.PUBLISH_RUBRIC, rubricId=rubric["id"])
        return rubric["id"], [c["id"] for c in rubric["versions"][0]["criteria"]]

    async def submit(self, email: str, assignment_id: str, question_id: str, text: str) -> str:
        """Hands in an answer; returns the submission's id."""
        student = await self.client(email)
        submission = await student.change(
            gql.SUBMIT,
            assignmentId=assignment_id,
            responses=[{"questionId": question_id, "text": text}],
        )
        return str(submission["id"])


@asynccontextmanager
async def make_world(resources: Resources, base_url: str) -> AsyncIterator[World]:
    """People and a course, made as an admin would make them."""
    await create_admin(
        resources.database, organization="Test", slug=SLUG, email=ADMIN, name="Admin"
    )
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as http:
        world = World(resources, http)
        admin = await world.client(ADMIN)
        people = [{"email": e, "name": e.split("@")[0].title()} for e in [INSTRUCTOR, *STUDENTS]]
        users = await admin.change(gql.CREATE_USERS, users=people)
        course = await admin.change(gql.CREATE_COURSE, code="NET", title="Networks")
        world.course_id = course["id"]
        await admin.change(
            gql.GRANT_ROLE,
            userId=users[0]["id"],
            role="INSTRUCTOR",
            courseId=course["id"],
            reason="Teaches",
        )
        await admin.change(gql.ENROL, courseId=course["id"], emails=STUDENTS)
        yield world
