"""What the study team did for an answer, as the API shows it while it happens."""

from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from strawberry.scalars import JSON

from persistence.tables.assignments import AiPolicy
from persistence.tables.study import AgentStepKind
from resolvers import assignments, study_steps
from resolvers.context import RequestContext
from resolvers.study import StudyRoute
from schema.assignments import Assignment
from schema.documents import Chunk
from schema.enums import described_enum
from schema.fields import batched, described
from schema.node import part_id

described_enum(
    AgentStepKind,
    "What a step of the study team did.",
    GRADED_WORK="It met graded work that is still open.",
    PLAN="It decided where to look.",
    RETRIEVE="It searched the course's material.",
    WEB_SEARCH="It searched the web.",
    DRAFT="It wrote a draft.",
    CRITIQUE="A critic read the draft.",
    CHECK="It held each claim of the draft against its source.",
    BUDGET="It reached a bound of what one answer may take.",
    SPENT="A call was paid.",
)
described_enum(
    StudyRoute,
    "Where an answer comes from.",
    DIRECT="From the conversation itself.",
    DOCUMENTS="From the course's material.",
    WEB="From the web.",
    BOTH="From the course's material and the web.",
    CLARIFY="It asks back.",
    REFUSE_GRADED_WORK="It is about graded work that is still open: hints at most.",
)


class _ByClass:
    """Told from the others of the union by the class of what was read."""

    read_from: type

    @classmethod
    def is_type_of(cls, obj: Any, _info: Any) -> bool:
        return isinstance(obj, cls.read_from)


@strawberry.type(description="What was planned.")
class PlanResult(_ByClass):
    read_from = study_steps.Planned
    route: StudyRoute = described("Where the answer is to come from.")
    queries: list[str] = described("What to search for.")
    reason: str = described("Why, in a few words.")


@strawberry.type(description="What was searched and found.")
class RetrieveResult(_ByClass):
    read_from = study_steps.Searched
    queries: list[str] = described("What was searched for.")

    @batched("The passages found, best first, as far as they are still there for you to read.")
    async def chunks(parents: Sequence[Any], context: RequestContext) -> Sequence[list[Chunk]]:
        return await study_steps.list_found(parents, context)


@strawberry.type(description="What was searched for in the web, and found.")
class WebSearchResult(_ByClass):
    read_from = study_steps.SearchedWeb
    queries: list[str] = described("What was searched for.")
    urls: list[str] = described("The addresses of the pages found, best first.")
    problem: str = described("Why the web could not be searched; empty when it was.")


@strawberry.type(description="A bound that was reached.")
class BudgetResult(_ByClass):
    read_from = study_steps.ReachedBound
    reached: str = described("Which bound.")
    calls: int = described("Calls until then.")
    tokens: int = described("Tokens read and written until then.")
    cost_micros: int = described("Millionths of the currency of `Message.usage` until then.")


@strawberry.type(description="What a draft came to.")
class DraftResult(_ByClass):
    read_from = study_steps.Drafted
    attempt: int = described("0 for the first draft, then counting revisions.")
    characters: int = described("Its length in code points.")
    abstained: bool = described("Whether the tutor found that the sources do not answer.")


@strawberry.type(description="What the critic said.")
class CritiqueResult(_ByClass):
    read_from = study_steps.Criticised
    attempt: int = described("The draft it is about.")
    verdict: str = described("APPROVE, REVISE or ABSTAIN.")
    issues: list[str] = described("What to change.")


@strawberry.type(description="What the check of the quotes found.")
class CheckResult(_ByClass):
    read_from = study_steps.Checked
    attempt: int = described("The draft it is about.")
    verified: int = described("Claims whose quotes stand in their sources, word for word.")
    unsupported: int = described("Claims without such a quote, which are rejected.")


@strawberry.type(description="Graded work a question is about.")
class GradedWorkResult(_ByClass):
    read_from = study_steps.MetGradedWork
    policy: AiPolicy = described("What the tutor may do about it.")
    rung: int = described("How far the hints go, from 1.")

    @batched("The assignment; null when it is not there for you to read.")
    async def assignment(
        parents: Sequence[Any], context: RequestContext
    ) -> Sequence[Assignment | None]:
        return await assignments.load_assignments(context, [p.assignment_id for p in parents])


@strawberry.type(description="What a call cost.")
class SpentResult(_ByClass):
    read_from = study_steps.Paid
    step: str = described("Which call: planner, tutor:0, critic:0, and so on.")
    provider: str = described("Who was paid.")
    model: str = described("The model.")
    input_tokens: int = described("Tokens it read.")
    output_tokens: int = described("Tokens it wrote.")
    cost_micros: int = described("Millionths of the currency of `Message.usage`.")


StepResult = Annotated[
    PlanResult
    | RetrieveResult
    | WebSearchResult
    | DraftResult
    | CritiqueResult
    | CheckResult
    | BudgetResult
    | GradedWorkResult
    | SpentResult,
    strawberry.union("StepResult", description="What a step came to, by its kind."),
]


@strawberry.type(description="One thing the study team did for an answer.")
class AgentStep:
    id = part_id()
    ordinal: int = described("Its place, from 0.")
    kind: AgentStepKind = described("What was done.")
    detail: JSON = strawberry.field(
        description="What came of it; its shape depends on the kind and may grow.",
        deprecation_reason="Read `result`, which is typed.",
    )

    @strawberry.field(
        description="What came of it; null on a step an older version wrote in another shape."
    )
    def result(root: Any) -> StepResult | None:
        return study_steps.result_of(root)
