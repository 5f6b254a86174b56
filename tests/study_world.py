"""A course with people and material, below the API: rows, contexts, a worker's resources."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from agents.models.embedding import MiniLM
from agents.ports import PassageSearch
from agents.study.team import StudyTeam
from ops.file_fetching import GuardedFetcher
from ops.file_links import SignedLinks
from ops.signing_keys import SigningKeys
from persistence import providers
from persistence.backends import open_bus
from persistence.bus import Bus
from persistence.database import Database, add
from persistence.followers import StreamFollowers, open_followers
from persistence.objects import open_storage
from persistence.roles import Role
from persistence.tables.courses import CourseRow, EnrollmentRow
from persistence.tables.identity import OrganizationRow, RoleGrantRow, UserRow
from persistence.tables.privacy import ApprovedProviderRow
from persistence.users import Proof, find_viewer
from resolvers import documents, mutations
from resolvers.access import Permission
from resolvers.audit import Action
from resolvers.context import RequestContext
from resolvers.documents_work import ingest_document
from resolvers.files import Files
from resolvers.global_ids import global_id
from resolvers.work import WorkResources
from tests.embedders import only

KEYS = SigningKeys.generate()
MATERIAL = {
    "routing.md": (
        "# Routing\n\nA router forwards each packet towards its destination. It looks up the "
        "longest matching prefix in its forwarding table.\n\n## Time to live\n\nEach router lowers "
        "the time to live field of a packet by one. When the time to live reaches zero, the packet "
        "is discarded and an ICMP message is sent back.\n"
    ),
    "transport.md": (
        "# Transport\n\nTCP gives a reliable, ordered stream of bytes. It acknowledges what was "
        "received and sends again what was lost. UDP gives no such guarantee.\n"
    ),
}


@dataclass(frozen=True)
class File:
    """An upload, as the edge hands it over."""

    filename: str | None
    content: bytes
    content_type: str | None = None
    _stream: BytesIO = field(default_factory=BytesIO)

    def __post_init__(self) -> None:
        self._stream.write(self.content)
        self._stream.seek(0)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    async def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


@dataclass(frozen=True)
class StudyWorld:
    """One organization with an instructor, two students and a course."""

    database: Database
    bus: Bus
    followers: StreamFollowers
    embedder: MiniLM
    organization_id: UUID
    course_id: UUID
    instructor: UUID
    ann: UUID
    bob: UUID
    files: Files

    async def approve(self, provider: str) -> None:
        """Lets the organization's data go to a provider."""
        async with self.database.transaction() as connection:
            row = ApprovedProviderRow(
                organization_id=self.organization_id,
                provider=provider,
                region="EU",
                approved_by=self.instructor,
                reason="test",
            )
            await providers.approve(connection, row)

    async def context(self, user_id: UUID) -> RequestContext:
        """A context with the rights this person has now, which can be renewed."""
        async with self.database.read() as connection:
            viewer = await find_viewer(
                connection, Proof(user_id, self.organization_id, datetime.max.replace(tzinfo=UTC))
            )

        async def renew() -> RequestContext:
            return await self.context(user_id)

        return RequestContext(
            database=self.database,
            bus=self.bus,
            followers=self.followers,
            embedders=only(self.embedder),
            files=self.files,
            signed_in=viewer,
            correlation_id="test",
            renew=renew,
        )

    def work(self, team: Callable[[PassageSearch], Any] | None = None) -> WorkResources:
        """A worker's resources."""
        return WorkResources(
            database=self.database,
            bus=self.bus,
            embedder=self.embedder,
            embedders=only(self.embedder),
            grading_team=cast(Any, None),
            study_team=lambda search, _account: cast(StudyTeam, team(search) if team else None),
            storage=self.files.storage,
            fetcher=GuardedFetcher(self.files.fetching),
            lease_seconds=3,
        )

    async def change(
        self, user_id: UUID, work: mutations.Work, permission: Permission, **values: Any
    ) -> UUID:
        """Runs a mutation of one result as this person."""
        context = await self.context(user_id)
        key = values.pop("key", None)
        action = Action(work.__name__, permission, None, values)
        prepare = documents.store_file if work is documents.upload_document else None
        (made,) = await mutations.perform(context, action, work, key, prepare)
        return made

    async def upload(
        self,
        name: str,
        content: bytes | str,
        *,
        content_type: str | None = None,
        course_id: UUID | None = None,
        user_id: UUID | None = None,
    ) -> UUID:
        """Hands a file in, as the instructor."""
        data = content.encode() if isinstance(content, str) else content
        return await self.change(
            user_id or self.instructor,
            documents.upload_document,
            Permission.DOCUMENT_WRITE,
            course_id=global_id("Course", course_id or self.course_id),
            file=File(name, data, content_type),
            title=None,
        )

    async def ingest(self, material: dict[str, str] | None = None) -> list[UUID]:
        """Hands material in and makes it searchable."""
        keys = [await self.upload(name, text) for name, text in (material or MATERIAL).items()]
        for key in keys:
            await ingest_document(self.work(), key)
        return keys


async def add_people(database: Database, organization_id: UUID, names: Sequence[str]) -> list[UUID]:
    """People of an organization."""
    rows = [
        UserRow(organization_id=organization_id, email=f"{n}@example.edu", name=n.title())
        for n in names
    ]
    async with database.transaction() as connection:
        await add(connection, *rows)
    return [row.id for row in rows]


async def add_course(
    database: Database,
    organization_id: UUID,
    code: str,
    instructor: UUID,
    students: Sequence[UUID] = (),
) -> UUID:
    """A course with its instructor and students."""
    course = CourseRow(organization_id=organization_id, code=code, title=f"Course {code}")
    grant = RoleGrantRow(
        organization_id=organization_id,
        user_id=instructor,
        role=Role.INSTRUCTOR,
        course_id=course.id,
        reason="Teaches",
    )
    enrolled = [
        EnrollmentRow(
            organization_id=organization_id,
            course_id=course.id,
            user_id=student,
            role=Role.STUDENT,
            state="ACTIVE",
        )
        for student in students
    ]
    async with database.transaction() as connection:
        for rows in ([course], [grant], enrolled):
            await add(connection, *rows)
    return course.id


@pytest.fixture(scope="session")
async def embedder() -> AsyncIterator[MiniLM]:
    """The built-in model, loaded once."""
    model = MiniLM()
    await model.prepare()
    yield model
    model.close()


@pytest.fixture
async def study_world(
    database: Database, embedder: MiniLM, tmp_path: Path
) -> AsyncIterator[StudyWorld]:
    """The course, without material."""
    organization = OrganizationRow(name="Org", slug="study-org")
    async with database.transaction() as connection:
        await add(connection, organization)
    instructor, ann, bob = await add_people(database, organization.id, ["instructor", "ann", "bob"])
    course = await add_course(database, organization.id, "NET", instructor, [ann, bob])
    async with (
        open_bus(database) as bus,
        open_followers(database, bus, poll_seconds=0.2) as followers,
    ):
        yield StudyWorld(
            database,
            bus,
            followers,
            embedder,
            organization.id,
            course,
            instructor,
            ann,
            bob,
            Files(open_storage((tmp_path / "originals").as_uri()), SignedLinks(KEYS, "")),
        )


__all__ = ["StudyWorld", "add_course", "add_people", "embedder", "study_world"]
