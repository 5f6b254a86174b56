"""What leaves this server for a provider of models. A client of one adds its flow here."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class DataFlow:
    """A feature, the model behind it, and what is sent where. Nothing, for a model in here."""

    feature: str
    provider: str
    model: str
    region: str | None
    fields: Sequence[str]
    retention: str | None


FLOWS: Sequence[DataFlow] = (
    DataFlow("grading", "offline", "statistical grader", None, (), None),
    DataFlow("study", "offline", "extractive tutor", None, (), None),
    DataFlow("search", "offline", "all-MiniLM-L6-v2", None, (), None),
)
