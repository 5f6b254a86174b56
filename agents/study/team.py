"""The study team: planner, retrieval and web search, tutor, critic, every quote checked in code.

Members are AutoGen agents wired with structured concurrency. Each call goes through the ledger,
so a takeover repeats nothing that is paid: steps `planner`, `retrieval`, `web`, `tutor:0`,
`critic:0`, `tutor:1`, ... The searches are steps too: a committed answer is checked against what it
was written from, though the index may have changed since.
"""

import asyncio

from autogen_core import CancellationToken

from agents.ports import (
    AgentCancelled,
    AnswerSink,
    Embedder,
    Ledger,
    PassageSearch,
    Stages,
    Steps,
    WebSearch,
)
from agents.study.answering import Answering
from agents.study.brief import StudyBrief, StudyLimits
from agents.study.members import StudyMembers
from agents.study.outcome import StudyOutcome
from agents.web.search import NoWebSearch


class StudyTeam:
    """Answers questions; keeps nothing between them, so one team serves all sessions."""

    def __init__(
        self,
        members: StudyMembers,
        search: PassageSearch,
        embedder: Embedder,
        limits: StudyLimits | None = None,
    ) -> None:
        """`search` is scoped to what the student may read."""
        self._members = members
        self._search = search
        self._embedder = embedder
        self._limits = limits or StudyLimits()

    async def answer(
        self,
        brief: StudyBrief,
        *,
        generation: int,
        ledger: Ledger,
        stages: Stages,
        sink: AnswerSink,
        cancellation: CancellationToken,
        steps: Steps | None = None,
        web: WebSearch | None = None,
    ) -> StudyOutcome:
        """The answer to one question, which the sink holds too when this returns.

        `web` is bound to what the course allows.

        Whatever the route, the stages PLANNING, RETRIEVING, GENERATING and VERIFYING are entered
        once each, in this order. Drafts at the sink are unverified until this returns. `steps` is
        told of each step as it happens; the outcome has them all.

        Raises AgentCancelled when `cancellation` is cancelled, AgentFailure when a member fails,
        and at once what the ledger, stages, sink or search raise.
        """
        answering = Answering(
            members=self._members,
            search=self._search,
            web=web or NoWebSearch(),
            embedder=self._embedder,
            limits=self._limits,
            brief=brief,
            generation=generation,
            ledger=ledger,
            stages=stages,
            sink=sink,
            cancellation=cancellation,
            told=steps,
        )
        task = asyncio.ensure_future(answering.outcome())
        cancellation.link_future(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if cancellation.is_cancelled() and not (current and current.cancelling()):
                raise AgentCancelled("the answer was cancelled") from None
            raise
