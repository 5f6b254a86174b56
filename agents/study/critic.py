"""The offline critic: does each claim say what its quotes say?"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken

from agents.study.messages import CheckedClaim, CriticRequest, CriticVerdict, Verdict
from agents.study.offline import request_in
from agents.study.terms import terms

MIN_SHARED: Final = 0.4
"""Least share of a claim's content terms that its quotes hold."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NEGATION = re.compile(r"\b(?:not|never|no|cannot|without|n't)\b|n't\b", re.IGNORECASE)
_MARKER = re.compile(r"\[\d{1,3}\]")


class OfflineCritic(BaseChatAgent):
    """Answers a CriticTask with StructuredMessage[CriticVerdict], by rules and without a model."""

    def __init__(self) -> None:
        super().__init__("critic", "Compares each claim with its quotes.")

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """A structured verdict."""
        return (StructuredMessage[CriticVerdict],)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """The verdict on the last message, which must hold a CriticRequest (else TypeError)."""
        request = request_in(messages, CriticRequest, cancellation_token)
        issues = list(_issues(request.claims))
        verdict = CriticVerdict(
            verdict=Verdict.REVISE if issues else Verdict.APPROVE, issues=issues
        )
        return Response(
            chat_message=StructuredMessage[CriticVerdict](content=verdict, source=self.name)
        )

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Nothing to forget."""


def _issues(claims: Sequence[CheckedClaim]) -> Iterator[str]:
    """Numbers, negations and terms of a claim that its quotes don't have. Claims without a found
    quote are the citation check's to report."""
    for claim in claims:
        if not claim.supported:
            continue
        said = _MARKER.sub("", claim.claim)
        quoted = " ".join(claim.quotes)
        numbers = set(_NUMBER.findall(said)) - set(_NUMBER.findall(quoted))
        mine = set(terms(said))
        if numbers:
            yield f"The quotes don't have the number {min(numbers)}. Claim: {said[:400]}"
        elif bool(_NEGATION.search(said)) and not _NEGATION.search(quoted):
            yield f"The claim denies something its quotes don't deny. Claim: {said[:400]}"
        elif mine and len(mine & set(terms(quoted))) < MIN_SHARED * len(mine):
            yield f"The quotes are about something else. Claim: {said[:400]}"
