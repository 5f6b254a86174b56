"""What leaves this server for a provider of models, by what is configured and chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agents.models.catalogue import Catalogue
from agents.models.names import Chain


@dataclass(frozen=True)
class DataFlow:
    """A feature, the model behind it, and what is sent where. Nothing, for a model in here."""

    feature: str
    provider: str
    model: str
    region: str | None
    fields: Sequence[str]
    retention: str | None


SEARCH: Final = "search"
PICTURES: Final = "reading pictures"

FLOWS: Sequence[DataFlow] = (
    DataFlow("grading", "offline", "statistical grader", None, (), None),
    DataFlow("study", "offline", "extractive tutor", None, (), None),
    DataFlow(SEARCH, "offline", "all-MiniLM-L6-v2", None, (), None),
)

WEB_SEARCH = DataFlow(
    "web search",
    "tavily",
    "search",
    None,
    ("a query without names of the course's people, e-mail addresses, ids and numbers",),
    None,
)

_SENT: Final[Mapping[str, Sequence[str]]] = {
    "study": (
        "the question and the conversation, without the student's name, address and numbers",
        "passages of course material",
        "open assignments' prompts",
    ),
    "grading": (
        "the answer, without the student's name, address and numbers",
        "the assignment's prompt, its rubric and reference answer",
        "anchor papers and passages of course material",
    ),
    PICTURES: ("pictures of course material, and its pages without text, as pictures",),
}


def flow_of_search(provider: str, model: str) -> DataFlow:
    """What a search by this embedding model sends."""
    sent = ("passages of course material", "search queries, the tutor's and graders' too")
    return DataFlow(SEARCH, provider, model, None, () if provider == "offline" else sent, None)


def flows_of(feature: str, chains: Iterable[Chain], catalogue: Catalogue) -> Sequence[DataFlow]:
    """A flow for each model that may be asked for `study`, `grading` or `PICTURES`, in order, once
    each."""
    models = dict.fromkeys(name for chain in chains for name in chain)
    flows = []
    for name in models:
        offered = catalogue.find(name)
        flows.append(
            DataFlow(
                feature,
                name.server,
                name.model,
                offered.region if offered else None,
                _SENT[feature],
                offered.retention if offered else None,
            )
        )
    return flows
