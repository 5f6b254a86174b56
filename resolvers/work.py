"""What a worker process is given to work with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol
from uuid import UUID, uuid4

from agents.documents.extracted import Limits
from agents.documents.pictures import PictureReader
from agents.grading.team import GradingTeam
from agents.ports import Account, Embedder, Embedders, Ledger, Paid, PassageSearch, WebSearch
from agents.study.summary import ExtractiveSummariser, Summariser
from agents.study.team import StudyTeam
from agents.web.domains import DomainPolicy
from agents.web.search import Quota
from observability.metrics import Metrics
from persistence.bus import Bus
from persistence.database import Database
from persistence.leases import Renewals
from persistence.ledger import Call
from persistence.objects import ObjectStorage
from persistence.tables.study import messages
from resolvers.context import utc_now
from resolvers.fetching import FileFetcher
from resolvers.files import FileRules


class PictureReading(Protocol):
    """Gives a document its reader, where a model is chosen. On the `last_try` a provider that is
    down leaves pictures unread."""

    def __call__(
        self, account: Account, ledger: Ledger, *, last_try: bool
    ) -> PictureReader | None: ...


def _nobody(account: Account, ledger: Ledger, *, last_try: bool) -> None:  # noqa: ARG001 - the port's
    return None


@dataclass(frozen=True)
class WorkResources:
    """One a process. Leases last `lease_seconds` and are renewed at a third of that."""

    database: Database
    bus: Bus
    embedder: Embedder
    """The built-in model, whose tokens chunks are measured in whatever model indexes them."""
    embedders: Embedders
    grading_team: Callable[[PassageSearch, Account], GradingTeam]
    """A fresh team for one task, over a search the caller has bound to a course and viewer."""
    study_team: Callable[[PassageSearch, Account], StudyTeam]
    storage: ObjectStorage
    fetcher: FileFetcher
    summariser: Callable[[Account], Summariser] = lambda _: ExtractiveSummariser()
    """Who summarises the conversation before one message."""
    file_rules: FileRules = field(default_factory=FileRules)
    """What may be fetched, which nobody had measured when it was asked for."""
    replaced_life: timedelta | None = None
    """Time after which replaced versions of documents are deleted; None: never."""
    asks_a_provider: Callable[[Account], bool] = lambda _: False
    """Whether what a student writes to this account's tutor leaves the server."""
    currency: str = "USD"
    """Of the price table: what calls cost is in its millionths."""
    monthly_budget_micros: int | None = None
    """Of an organization without a budget of its own."""
    metrics: Metrics = field(default_factory=Metrics)
    document_limits: Limits = field(default_factory=Limits)
    """What reading one file may cost."""
    picture_reader: PictureReading = _nobody
    """Who reads scanned pages and pictures, for one try at one document."""
    lease_seconds: float = 30.0
    grading_concurrency: int = 4
    web_search: Callable[[DomainPolicy, Quota], WebSearch] | None = None
    """A search of the web within a course's lists and a quota; None where none is set up."""
    web_searches_a_day: int = 200
    worker_id: UUID = field(default_factory=uuid4)
    now: Callable[[], datetime] = utc_now

    @cached_property
    def message_leases(self) -> Renewals:
        """What keeps this worker's messages its own."""
        return Renewals(self.database.keeping(), messages, self.lease_seconds)

    def call(self, paid: Paid) -> Call:
        """A response as the ledger keeps it."""
        return Call(
            paid.request_hash,
            paid.response,
            paid.provider,
            paid.model,
            paid.usage.input_tokens,
            paid.usage.output_tokens,
            paid.cost_micros,
            self.currency,
        )

    def count(self, paid: Paid) -> None:
        """Shows a response that was kept to whoever watches."""
        usage = paid.usage
        self.metrics.model_call(
            paid.provider, paid.model, usage.input_tokens, usage.output_tokens, paid.cost_micros
        )
