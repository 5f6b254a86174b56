"""What a worker process is given to work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from agents.grading.team import GradingTeam
from agents.ports import Embedder, PassageSearch, WebSearch
from agents.study.team import StudyTeam
from agents.web.domains import DomainPolicy
from agents.web.search import Quota
from observability.metrics import Metrics
from persistence.bus import Bus
from persistence.database import Database
from resolvers.context import utc_now


@dataclass(frozen=True)
class WorkResources:
    """One a process. Leases last `lease_seconds` and are renewed at a third of that."""

    database: Database
    bus: Bus
    embedder: Embedder
    query_embedder: Embedder
    """The same model for what is searched for, which is asked again and again."""
    embedding_model: str
    grading_team: Callable[[PassageSearch], GradingTeam]
    """A fresh team for one task, over a search the caller has bound to a course and viewer."""
    study_team: Callable[[PassageSearch], StudyTeam]
    metrics: Metrics = field(default_factory=Metrics)
    lease_seconds: float = 30.0
    grading_concurrency: int = 4
    web_search: Callable[[DomainPolicy, Quota], WebSearch] | None = None
    """A search of the web within a course's lists and a quota; None where none is set up."""
    web_searches_a_day: int = 200
    worker_id: UUID = field(default_factory=uuid4)
    now: Callable[[], datetime] = utc_now
