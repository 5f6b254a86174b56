"""Names of models as settings write them: `provider:model` and `provider:model@base_url`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OFFLINE: Final = "offline"


class SeatName(StrEnum):
    """A place in one of the teams that a model may take; the values are how settings write it."""

    PLANNER = "planner"
    TUTOR = "tutor"
    CRITIC = "critic"
    SUMMARISER = "summariser"
    GRADER_A = "grader_a"
    GRADER_B = "grader_b"
    ARBITER = "arbiter"
    FEEDBACK = "feedback"
    PICTURE_READER = "picture_reader"


STUDY_TEAM: Final = (SeatName.PLANNER, SeatName.TUTOR, SeatName.CRITIC)
STUDY_ROLES: Final = (*STUDY_TEAM, SeatName.SUMMARISER)
GRADING_ROLES: Final = (
    SeatName.GRADER_A,
    SeatName.GRADER_B,
    SeatName.ARBITER,
    SeatName.FEEDBACK,
)
DOCUMENT_ROLES: Final = (SeatName.PICTURE_READER,)
_NAME: Final = re.compile(
    r"(?P<provider>gemini|openai):(?P<model>[^\s@,>=]{1,120})(@(?P<url>\S+))?"
)
_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./~-]*)?")

Chain = tuple["ModelName", ...]


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model of a provider. `base_url` is None at the provider's own address."""

    provider: str
    model: str
    base_url: str | None = None

    @property
    def server(self) -> str:
        """Whose limits and faults it shares."""
        return self.provider if self.base_url is None else f"{self.provider}@{self.base_url}"

    def __str__(self) -> str:
        at = "" if self.base_url is None else f"@{self.base_url}"
        return f"{self.provider}:{self.model}{at}"


def model_name(text: str) -> ModelName:
    """Reads one name. Raises ValueError that says how to write it."""
    found = _NAME.fullmatch(text.strip())
    if found is None or (found["url"] and not _URL.fullmatch(found["url"])):
        raise ValueError(
            "write a model as gemini:NAME, openai:NAME or openai:NAME@https://host:port/v1"
        )
    return ModelName(found["provider"], found["model"], found["url"] or None)


def chain(text: str) -> Chain:
    """Models in the order they are tried, `first > second`; empty for `offline`."""
    if text.strip() == OFFLINE:
        return ()
    return tuple(model_name(one) for one in text.split(">"))


def written(models: Chain) -> str:
    """The chain as settings write it."""
    return " > ".join(map(str, models)) or OFFLINE


def chains(text: str, roles: Sequence[str]) -> Mapping[str, Chain]:
    """`role=chain` for each role, separated by commas; a chain without a role is for the rest.

    A role that is not named is offline. Raises ValueError.
    """
    named: dict[str, Chain] = {}
    rest: Chain = ()
    for entry in filter(None, (one.strip() for one in text.split(","))):
        role, equals, models = entry.partition("=")
        if not equals:
            rest = chain(entry)
        elif role.strip() not in roles:
            raise ValueError(f"{role.strip()!r} is not a role; these are: {', '.join(roles)}")
        else:
            named[role.strip()] = chain(models)
    return {role: named.get(role, rest) for role in roles}
