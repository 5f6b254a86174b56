"""The offline planner: rules for what a question needs, and what to search for."""

import re
from collections.abc import Sequence
from typing import Final

from autogen_agentchat.agents import BaseChatAgent
from autogen_agentchat.base import Response
from autogen_agentchat.messages import BaseChatMessage, StructuredMessage
from autogen_core import CancellationToken

from agents.documents.sentences import sentence_spans
from agents.study.brief import Speaker, Turn
from agents.study.messages import PlanRequest, Route, StudyPlan
from agents.study.offline import request_in
from agents.study.terms import terms

_SMALL_TALK: Final = re.compile(
    r"\W*(?:hi|hey|hello|good (?:morning|afternoon|evening)|thanks?|thank you|ok(?:ay)?|bye|"
    r"goodbye|who are you|what are you|what can you do|how can you help(?: me)?|help)"
    r"(?:[\s,]+(?:there|tutor|assay|again|you|very much|so much|a lot))*\W*",
    re.IGNORECASE,
)
_FOLLOW_UP: Final = re.compile(
    r"\b(?:it|its|that|this|those|these|they|them|their|he|she|him|her|former|latter|more|"
    r"another|example|instead|again|else|above)\b",
    re.IGNORECASE,
)
_WEB: Final = re.compile(
    r"\b(?:search|look(?: it)? up|check|find(?: it)?|google)\b.{0,40}?\b(?:web|internet|online)\b"
    r"|\b(?:on|from) the (?:web|internet)\b|\bgoogle\b",
    re.IGNORECASE,
)
_LISTED: Final = re.compile(r"^[ \t]*+(?:\d{1,3}[.)]|[-*])[ \t]++(\S[^\n]*+)$", re.MULTILINE)
_MAX_TOPIC_TERMS: Final = 3


class OfflinePlanner(BaseChatAgent):
    """Answers a PlanTask with StructuredMessage[StudyPlan], by rules and without a model."""

    def __init__(self) -> None:
        super().__init__("planner", "Decides where the answer comes from and what to search.")

    @property
    def produced_message_types(self) -> Sequence[type[BaseChatMessage]]:
        """A structured plan."""
        return (StructuredMessage[StudyPlan],)

    async def on_messages(
        self, messages: Sequence[BaseChatMessage], cancellation_token: CancellationToken
    ) -> Response:
        """The plan for the last message, which must hold a PlanRequest (else TypeError)."""
        request = request_in(messages, PlanRequest, cancellation_token)
        return Response(
            chat_message=StructuredMessage[StudyPlan](content=planned(request), source=self.name)
        )

    async def on_reset(self, cancellation_token: CancellationToken) -> None:
        """Nothing to forget."""


def planned(request: PlanRequest) -> StudyPlan:
    """Small talk is answered directly; a follow-up is searched with the question before it; a
    follow-up to nothing is asked back; the web is searched when the question asks for it; several
    questions are searched one by one."""
    question = request.question.strip()
    if _SMALL_TALK.fullmatch(question):
        return StudyPlan(route=Route.DIRECT, reason="small talk")
    topic = list(dict.fromkeys(terms(question)))
    before = _last_question(request.history)
    follows = len(topic) <= _MAX_TOPIC_TERMS and bool(not topic or _FOLLOW_UP.search(question))
    if follows and before:
        queries = [f"{before} {question}", before]
        return StudyPlan(
            route=Route.DOCUMENTS, queries=queries[: request.max_queries], reason="follow-up"
        )
    if not topic and not _is_other_script(question):
        return StudyPlan(
            route=Route.CLARIFY,
            clarification="What is your question about? Name the topic or the term.",
            reason="no topic",
        )
    # Where the web is not served, the team answers from the material and says so.
    route = Route.BOTH if _WEB.search(question) else Route.DOCUMENTS
    parts = questions(question)
    queries = [question, *(part for part in parts if len(parts) > 1)]
    return StudyPlan(route=route, queries=queries[: request.max_queries], reason="question")


def questions(text: str) -> list[str]:
    """The questions of a message: sentences that end with a question mark, else listed lines.

    The whole message where there is one question or none.
    """
    found = [text[start:end] for start, end in sentence_spans(text)]
    asked = [sentence for sentence in found if sentence.rstrip("\"'\u201d)").endswith("?")]
    if not asked:
        asked = _LISTED.findall(text)
    return asked if len(asked) > 1 else [text.strip()]


def _last_question(history: Sequence[Turn]) -> str:
    """The newest student turn with a topic."""
    for turn in reversed(history):
        if turn.speaker is Speaker.STUDENT and len(set(terms(turn.text))) >= 2:
            return turn.text.strip()
    return ""


def _is_other_script(text: str) -> bool:
    """Letters that the English term rules don't see, as in Chinese."""
    return any(character.isalpha() and not character.isascii() for character in text)
