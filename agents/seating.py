"""Who sits in which seat of a team: the models a course, its organization or the operator chose,
and the offline members in all others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agents.documents.transcription import ModelPictureReader
from agents.grading.brief import Role
from agents.grading.members import GradingMembers, ModelMembers, ModelSeat, SeatedMembers
from agents.models.flows import FLOWS, PICTURES, DataFlow, flows_of
from agents.models.gateway import Gateway
from agents.models.names import (
    DOCUMENT_ROLES,
    STUDY_ROLES,
    STUDY_TEAM,
    Chain,
    SeatName,
    chain,
)
from agents.ports import Account, Ledger
from agents.study.members import StudyMembers, model_members, model_seat
from agents.study.prompts import SUMMARISER
from agents.study.summarising import ModelSummariser
from agents.study.summary import ExtractiveSummariser, Summariser, Summary


@dataclass(frozen=True)
class Seating:
    """The operator's models by role; an account's own choice goes before them."""

    gateway: Gateway
    study: Mapping[str, Chain]
    grading: Mapping[str, Chain]
    documents: Mapping[str, Chain] = field(default_factory=dict)
    picture_micros: int | None = None
    """What reading the pictures of one document may cost."""
    prepare: Callable[[], None] = lambda: None
    """Makes the clients of the offered models: for a worker, before its first call."""

    def study_members(self, account: Account, offline: StudyMembers) -> StudyMembers:
        """The study team of one message."""
        members = offline
        for role in STUDY_TEAM:
            models = self._models(account, role, self.study)
            if models:
                client = self.gateway.client(models, account, role)
                first = models[0]
                seated = model_members(client, provider=first.provider, model=first.model)
                members = replace(members, **{role: getattr(seated, role)})
        return members

    def summariser(self, account: Account) -> Summariser:
        """Who summarises the conversation before one message."""
        models = self._models(account, SeatName.SUMMARISER, self.study)
        if not models:
            return ExtractiveSummariser()
        client = self.gateway.client(models, account, SeatName.SUMMARISER)
        first = models[0]
        seat = model_seat(
            client,
            SeatName.SUMMARISER,
            SUMMARISER,
            Summary,
            provider=first.provider,
            model=first.model,
        )
        return ModelSummariser(seat)

    def grading_members(self, account: Account, offline: GradingMembers) -> GradingMembers:
        """The grading team of one task."""
        seats: dict[Role, GradingMembers] = {}
        for role in Role:
            models = self._models(account, role.name.lower(), self.grading)
            if models:
                client = self.gateway.client(models, account, role.name.lower())
                seat = ModelSeat(client, models[0].provider, models[0].model)
                seats[role] = ModelMembers(dict.fromkeys(Role, seat))
        if not seats:
            return offline
        return SeatedMembers({role: seats.get(role, offline) for role in Role})

    def picture_reader(
        self, account: Account, ledger: Ledger, *, last_try: bool
    ) -> ModelPictureReader | None:
        """Who reads the pictures of one document, if anybody does."""
        (role,) = DOCUMENT_ROLES
        models = self._models(account, role, self.documents)
        if not models:
            return None
        bounded = replace(account, most_micros=self.picture_micros)
        client = self.gateway.client(models, bounded, role)
        return ModelPictureReader(client, ledger, last_try=last_try)

    def asks_a_provider(self, account: Account) -> bool:
        """Whether what a student writes to this account's tutor leaves the server."""
        return any(self._models(account, role, self.study) for role in STUDY_ROLES)

    def flows(self, chosen: Iterable[tuple[str, str]]) -> Sequence[DataFlow]:
        """What leaves the server; `chosen` are roles and models an organization chose."""
        found: list[DataFlow] = []
        for offline in FLOWS:
            configured = {"study": self.study, "grading": self.grading}.get(offline.feature, {})
            chains = list(configured.values())
            chains += [chain(models) for role, models in chosen if role in configured]
            if not chains or not all(chains):
                found.append(offline)
            found += flows_of(offline.feature, chains, self.gateway.catalogue)
        readers = [*self.documents.values()]
        readers += [chain(models) for role, models in chosen if role in DOCUMENT_ROLES]
        return [*found, *flows_of(PICTURES, readers, self.gateway.catalogue)]

    @staticmethod
    def _models(account: Account, role: str, configured: Mapping[str, Chain]) -> Chain:
        chosen = account.chosen.get(role)
        return configured.get(role, ()) if chosen is None else chain(chosen)
