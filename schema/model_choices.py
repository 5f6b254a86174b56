"""Which language models sit where, as the API shows it."""

from datetime import date, datetime

import strawberry

from agents.models.names import SeatName
from agents.models.offering import Hindrance
from resolvers import model_choices
from resolvers.access import Permission
from resolvers.context import RequestContext
from resolvers.model_choices import ChosenBy
from schema.enums import described_enum
from schema.fields import UserError, described, mutation, root_field
from schema.node import IDEMPOTENCY_KEY
from schema.scalars import BigInt

described_enum(
    SeatName,
    "A place in one of the teams that a language model may take.",
    name="ModelSeat",
    PLANNER="Decides what a student's question needs.",
    TUTOR="Writes the answer.",
    CRITIC="Judges the answer before it is shown.",
    SUMMARISER="Summarises a long conversation for the tutor.",
    GRADER_A="The first grader.",
    GRADER_B="The second grader.",
    ARBITER="Reads what the two graders disagree about.",
    FEEDBACK="Writes the feedback.",
    PICTURE_READER="Reads pictures and scanned pages of documents.",
)
described_enum(
    Hindrance,
    "Why a model is not asked, whoever chose it.",
    name="ModelProblemCode",
    NOT_OFFERED="The server does not offer it.",
    NO_PRICE="It has no price that holds today.",
    NO_KEY="The server has no key for it.",
    NOT_APPROVED="The organization has not approved its provider.",
    OTHER_REGION="Its provider is approved for another region.",
)
described_enum(
    ChosenBy,
    "Whose choice counts.",
    COURSE="The course's.",
    ORGANIZATION="The organization's.",
    SERVER="The server's own, because nobody chose.",
)

SCOPE = "The course it is for; leave out for the organization."
SEAT = "The seat."


@strawberry.type(description="Why a model is not asked.")
class ModelProblem:
    model: str = described("The model.")
    code: Hindrance = described("The kind of problem.")
    message: str = described("What it is and what to do.")


@strawberry.type(description="What a model costs from a day on.")
class ModelPrice:
    since: date = described("The first day, in UTC.")
    input_micros: BigInt = strawberry.field(
        resolver=lambda root: root.input,
        description="For a million tokens it reads, in millionths of the currency.",
    )
    cached_micros: BigInt | None = strawberry.field(
        resolver=lambda root: root.cached,
        description="For a million it reads from the provider's cache; null: as any other.",
    )
    output_micros: BigInt = strawberry.field(
        resolver=lambda root: root.output,
        description="For a million tokens it writes, in millionths of the currency.",
    )
    source: str | None = described("Where the price was read; null where nobody wrote it down.")


@strawberry.type(description="A language model that this server offers.")
class AvailableModel:
    name: str = described("As it is chosen: `gemini:NAME`, `openai:NAME` or with an address.")
    region: str | None = described("Where its provider works; null where that is not known.")
    retention: str | None = described("How long its provider keeps what is sent; null: unknown.")
    prices: list[ModelPrice] = described("Its prices by day.")
    currency: str = described("Their currency, as an ISO 4217 code.")
    problem: ModelProblem | None = described(
        "Why your organization cannot use it now; null where it can."
    )
    usable: bool = described("Whether it is asked once it is chosen.")


@strawberry.type(description="Who sits in one seat of the teams.")
class ModelChoice:
    seat: SeatName = described("The seat.")
    models: list[str] = described(
        "The models in the order they are tried; empty for the member that needs no model."
    )
    chosen_by: ChosenBy = described("Whose choice it is.")
    chosen_at: datetime | None = described("When it was chosen; null for the server's own.")
    problems: list[ModelProblem] = described("Why models of it are not asked now.")


@strawberry.input(description="Models for a seat.")
class SetModelChoiceInput:
    course_id: strawberry.ID | None = strawberry.field(default=None, description=SCOPE)
    seat: SeatName = described(SEAT)
    models: list[str] = described(
        "Up to 5 of availableModels: the first is asked, and each next when the one before fails. "
        "Empty for the member that needs no model."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What setModelChoice did.")
class SetModelChoicePayload:
    model_choices: list[ModelChoice] | None = described(
        "Who sits where now, in the course or organization; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.input(description="A choice to be taken back.")
class ClearModelChoiceInput:
    course_id: strawberry.ID | None = strawberry.field(default=None, description=SCOPE)
    seat: SeatName = described(SEAT)
    idempotency_key: str | None = strawberry.field(default=None, description=IDEMPOTENCY_KEY)


@strawberry.type(description="What clearModelChoice did.")
class ClearModelChoicePayload:
    model_choices: list[ModelChoice] | None = described(
        "Who sits where now, in the course or organization; null when refused."
    )
    user_errors: list[UserError] = described("Why it was refused; empty when it was done.")


@strawberry.type
class ModelChoiceQueries:
    @root_field(
        "The language models this server offers, with what keeps the organization from using one. "
        "For those who choose.",
        course_id="The course to choose for; leave out for the organization.",
    )
    async def available_models(
        context: RequestContext, course_id: strawberry.ID | None = None
    ) -> list[AvailableModel]:
        return await model_choices.list_available(context, course_id)


@strawberry.type
class ModelChoiceMutations:
    set_model_choice = mutation(
        model_choices.set_model_choice,
        permission=Permission.MODEL_CHOOSE,
        input_type=SetModelChoiceInput,
        payload=SetModelChoicePayload,
        noun="model_choices",
        load=model_choices.load_choices,
        many=True,
        text="Seats language models, for what is asked or graded from now on.",
    )
    clear_model_choice = mutation(
        model_choices.clear_model_choice,
        permission=Permission.MODEL_CHOOSE,
        input_type=ClearModelChoiceInput,
        payload=ClearModelChoicePayload,
        noun="model_choices",
        load=model_choices.load_choices,
        many=True,
        text="Takes a choice back: the organization's, or the server's own, counts again.",
    )
