"""What each kind of step came to, typed, as far as its shape is settled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from persistence.tables.assignments import AiPolicy
from persistence.tables.documents import ChunkRow
from persistence.tables.study import AgentStepKind, AgentStepRow
from resolvers import documents
from resolvers.context import RequestContext
from resolvers.study import StudyRoute


@dataclass(frozen=True, slots=True)
class Planned:
    route: StudyRoute
    queries: list[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Searched:
    queries: list[str]
    chunk_ids: list[UUID]


@dataclass(frozen=True, slots=True)
class SearchedWeb:
    queries: list[str]
    urls: list[str]
    problem: str


@dataclass(frozen=True, slots=True)
class Drafted:
    attempt: int
    characters: int
    abstained: bool


@dataclass(frozen=True, slots=True)
class Criticised:
    attempt: int
    verdict: str
    issues: list[str]


@dataclass(frozen=True, slots=True)
class Checked:
    attempt: int
    verified: int
    unsupported: int


@dataclass(frozen=True, slots=True)
class ReachedBound:
    reached: str
    calls: int
    tokens: int
    cost_micros: int


@dataclass(frozen=True, slots=True)
class MetGradedWork:
    assignment_id: UUID
    policy: AiPolicy
    rung: int


@dataclass(frozen=True, slots=True)
class Paid:
    step: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_micros: int


Result: TypeAlias = (
    Planned
    | Searched
    | SearchedWeb
    | Drafted
    | Criticised
    | Checked
    | ReachedBound
    | MetGradedWork
    | Paid
)

_READ: Mapping[AgentStepKind, Callable[[dict[str, Any]], Result]] = {
    AgentStepKind.PLAN: lambda d: Planned(StudyRoute(d["route"]), list(d["queries"]), d["reason"]),
    AgentStepKind.RETRIEVE: lambda d: Searched(
        list(d["queries"]), [UUID(key) for key in d["chunk_ids"]]
    ),
    AgentStepKind.WEB_SEARCH: lambda d: SearchedWeb(
        list(d["queries"]), list(d["urls"]), d["problem"] or ""
    ),
    AgentStepKind.BUDGET: lambda d: ReachedBound(
        d["reached"], d["calls"], d["tokens"], d["cost_micros"]
    ),
    AgentStepKind.DRAFT: lambda d: Drafted(d["attempt"], d["characters"], d["abstained"]),
    AgentStepKind.CRITIQUE: lambda d: Criticised(d["attempt"], d["verdict"], list(d["issues"])),
    AgentStepKind.CHECK: lambda d: Checked(d["attempt"], d["verified"], d["unsupported"]),
    AgentStepKind.GRADED_WORK: lambda d: MetGradedWork(
        UUID(d["assignment_id"]), AiPolicy(d["policy"]), d["rung"]
    ),
    AgentStepKind.SPENT: lambda d: Paid(
        d["step"],
        d["provider"],
        d["model"],
        d["input_tokens"],
        d["output_tokens"],
        d["cost_micros"],
    ),
}


def result_of(step: AgentStepRow) -> Result | None:
    """What a step came to; None when an older version of the team wrote it in another shape."""
    try:
        return _READ[AgentStepKind(step.kind)](step.detail)
    except (KeyError, ValueError, TypeError):
        return None


async def list_found(parents: Sequence[Searched], context: RequestContext) -> list[list[ChunkRow]]:
    """The passages each search found, as far as the viewer sees them, best first."""
    wanted = list(dict.fromkeys(key for parent in parents for key in parent.chunk_ids))
    rows = await documents.load_chunks(context, wanted) if wanted else []
    found = {row.id: row for row in rows if row is not None}
    return [[found[key] for key in parent.chunk_ids if key in found] for parent in parents]
