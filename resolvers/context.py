"""What one request is given to work with."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from agents.models.flows import FLOWS, DataFlow
from agents.models.offering import Offering
from agents.ports import Embedders
from observability.metrics import Metrics
from persistence.bus import Bus
from persistence.database import Database
from persistence.followers import StreamFollowers
from persistence.visibility import Viewer
from resolvers import access
from resolvers.access import Permission
from resolvers.files import Files
from resolvers.refusals import Refusal, RefusalCode


class IssueAccess(Protocol):
    """Signs access tokens."""

    def __call__(self, viewer: Viewer, user_id: UUID, seconds: int) -> str:
        """A token with which the viewer acts as the person, in the viewer's own session."""


DataFlows = Callable[[Iterable[tuple[str, str]]], Sequence[DataFlow]]


RIGHTS_SECONDS = 1.0
"""What a subscription tells without a number is told under rights read so long ago at the most."""


def utc_now() -> datetime:
    """The clock of the process, in UTC."""
    return datetime.now(UTC)


@dataclass
class RequestContext:
    """Made anew for each operation and for each event of a subscription."""

    database: Database
    bus: Bus
    followers: StreamFollowers
    embedders: Embedders
    """Embedding a search is the one bounded model call an api process makes."""
    files: Files
    signed_in: Viewer | None
    correlation_id: str
    now: Callable[[], datetime] = utc_now
    metrics: Metrics | None = None
    """What the process counts; None where nobody asks."""
    renew: Callable[[], Awaitable["RequestContext"]] | None = None
    """Reads the viewer's rights again; raises `Refusal` when they are gone."""
    checked: set[Permission] = field(default_factory=set)
    course_ids: set[UUID] = field(default_factory=set)
    """The courses in which a permission was asked for."""
    issue_access: "IssueAccess | None" = None
    """Signs an access token for another person, where the process can."""
    offering: Offering = field(default_factory=Offering)
    """What this server offers of models, and the currency of all money."""
    flows: "DataFlows" = lambda _: FLOWS
    """What leaves the server, given what the organization chose."""
    secrets: dict[UUID, str] = field(default_factory=dict)
    """What this operation made and shows once, by the id it belongs to."""
    found: object = None
    """What the mutation that ran last found out and only its own payload shows."""
    object_type: str | None = None
    """The type of what a mutation changed, where that is not always the same."""
    batches: dict[object, Any] = field(default_factory=dict)
    """Where the field adapter collects the parents of one level."""

    @property
    def viewer(self) -> Viewer:
        """Who asks. Raises `Refusal` UNAUTHENTICATED."""
        if self.signed_in is None:
            raise Refusal(
                RefusalCode.UNAUTHENTICATED,
                "Sign in first: send an access token as `Authorization: Bearer <token>`.",
            )
        return self.signed_in

    def require(self, permission: Permission, course_id: UUID | None = None) -> Viewer:
        """The viewer, who holds `permission`. Raises `Refusal`."""
        if course_id is not None:
            self.course_ids.add(course_id)
        access.check(self.viewer, permission, course_id)
        self.checked.add(permission)
        return self.viewer

    def refusal(self, permission: Permission) -> Refusal | None:
        """The refusal the viewer gets who asks for `permission` over the organization."""
        return access.refusal(self.viewer, permission)

    def refusals(self, permission: Permission, course_ids: Sequence[UUID]) -> list[Refusal | None]:
        """For each course the refusal the viewer gets who asks for `permission` there."""
        return [access.refusal(self.viewer, permission, course_id) for course_id in course_ids]

    def note_own(self, permission: Permission) -> Viewer:
        """The viewer, where the permission follows from the row being their own."""
        viewer = self.viewer
        if not access.usable(viewer, permission):
            access.check(viewer, permission)
        self.checked.add(permission)
        return viewer
