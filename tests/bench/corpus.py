"""A corpus of clustered vectors and Zipf-distributed words, of which courses hold a share each."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from persistence.database import Database, add
from persistence.embeddings import ensure_serving
from persistence.tables.courses import CourseRow
from persistence.tables.identity import OrganizationRow, UserRow

SHARES = (0.001, 0.005, 0.05, 1.0)
CHUNKS_A_DOCUMENT = 40
WORDS, VOCABULARY = 90, 30_000
SMALLEST = 10
BATCH = 5_000
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """How much is built."""

    chunks: int
    queries: int
    dimension: int

    @property
    def model(self) -> str:
        """A name for vectors nobody's model made."""
        return f"openai:synthetic@{self.dimension}"


@dataclass
class Corpus:
    """Topics, and the courses that hold a share of the chunks each."""

    shape: Shape
    random: np.random.Generator
    topics: Floats
    organization: UUID
    person: UUID
    courses: dict[str, CourseRow] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, shape: Shape) -> "Corpus":
        random = np.random.default_rng(7)
        topics = random.normal(size=(max(8, shape.chunks // 500), shape.dimension))
        organization = OrganizationRow(name="Bench", slug="bench")
        person = UserRow(organization_id=organization.id, email="a@example.org", name="A")
        corpus = cls(shape, random, topics.astype(np.float32), organization.id, person.id)
        corpus.rows += [organization, person]
        names = [f"{kind} {share}" for share in SHARES[:-1] for kind in ("spread", "topical")]
        for name in (*names, "rest"):
            row = CourseRow(organization_id=organization.id, code=name, title=name)
            corpus.courses[name] = row
            corpus.rows.append(row)
        return corpus

    def near(self, topics: NDArray[np.int64]) -> Floats:
        """Unit vectors scattered about topics: similarity to their own topic about .7."""
        noise = self.random.normal(size=(len(topics), self.shape.dimension))
        vectors = self.topics[topics] + noise.astype(np.float32)
        unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def words(self, topic: int, count: int) -> str:
        """Half Zipf-distributed without the 100 commonest, half of the 60 words of the topic."""
        common = (100 * (VOCABULARY / 100) ** self.random.random(count)).astype(int)
        own = VOCABULARY + topic * 60 + self.random.zipf(1.5, count) % 60
        chosen = np.where(self.random.random(count) < 0.5, common, own)
        return " ".join(f"w{word}x" for word in chosen)

    def placed(self) -> tuple[list[CourseRow], NDArray[np.int64]]:
        """The course and the topic of each chunk."""
        topics = self.random.integers(0, len(self.topics), self.shape.chunks)
        courses = [self.courses["rest"]] * self.shape.chunks
        at = 0
        for share in SHARES[:-1]:
            size = max(SMALLEST, int(self.shape.chunks * share))
            own = self.own_topics(share)
            for kind in ("spread", "topical"):
                if kind == "topical":
                    topics[at : at + size] = self.random.choice(own, size)
                courses[at : at + size] = [self.courses[f"{kind} {share}"]] * size
                at += size
        return courses, topics

    def own_topics(self, share: float) -> NDArray[np.int64]:
        """The few topics a topical course is about."""
        first = SHARES.index(share) * 3
        return np.arange(first, first + 3)


async def load(database: Database, corpus: Corpus) -> None:
    """Fills the tables by COPY; documents of 40 chunks."""
    for row in corpus.rows:
        async with database.transaction() as connection:
            await add(connection, row)
    async with database.transaction() as connection:
        await ensure_serving(connection, corpus.shape.model)
    driver = await database.direct()
    await register_vector(driver)
    courses, topics = corpus.placed()
    document: tuple[UUID, UUID] = (uuid4(), uuid4())
    for start in range(0, corpus.shape.chunks, BATCH):
        stop = min(start + BATCH, corpus.shape.chunks)
        vectors = corpus.near(topics[start:stop])
        documents: list[Any] = []
        versions: list[Any] = []
        chunks: list[Any] = []
        embeddings: list[Any] = []
        for at in range(start, stop):
            course = courses[at]
            if at % CHUNKS_A_DOCUMENT == 0 or at == 0 or course is not courses[at - 1]:
                document = (uuid4(), uuid4())
                documents.append(_document(corpus, course.id, document[0]))
                versions.append((document[1], corpus.organization, document[0], 1, b"", ""))
            key, passage = uuid4(), corpus.words(int(topics[at]), WORDS)
            place = (corpus.organization, course.id, document[0])
            chunks.append((key, *place, document[1], at, 0, len(passage), [], passage, "en"))
            vector = HalfVector(vectors[at - start])
            model = (corpus.shape.model, corpus.shape.dimension)
            embeddings.append((key, *model, *place, vector))
        await _copy(driver, "document", DOCUMENT, documents)
        await _copy(driver, "document_version", VERSION, versions)
        await _copy(driver, "chunk", CHUNK, chunks)
        await _copy(driver, "chunk_embedding", EMBEDDING, embeddings)
    await driver.execute("VACUUM ANALYZE")
    await driver.close()


DOCUMENT = (
    "id organization_id course_id uploaded_by title file_name media_type byte_size sha256 language"
    " state fence notes version"
)
VERSION = "id organization_id document_id number original text"
CHUNK = (
    "id organization_id course_id document_id document_version_id ordinal start end heading_path"
    " text language"
)
EMBEDDING = "chunk_id model dimension organization_id course_id document_id embedding"


def _document(corpus: Corpus, course: UUID, key: UUID) -> tuple[Any, ...]:
    about = (key, corpus.organization, course, corpus.person, "t", "t.txt", "text/plain", 1)
    return (*about, str(key), "en", "READY", 1, "[]", 1)


async def _copy(driver: Any, table: str, columns: str, records: list[Any]) -> None:
    await driver.copy_records_to_table(table, records=records, columns=columns.split())
