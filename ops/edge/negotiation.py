"""Which media type answers a request (GraphQL over HTTP, section 6.1; RFC 9110, 12.5.1)."""

from dataclasses import dataclass
from enum import StrEnum


class MediaType(StrEnum):
    """What the endpoint can answer with."""

    RESPONSE = "application/graphql-response+json"
    JSON = "application/json"
    EVENTS = "text/event-stream"


WILDCARDS = {"*/*": MediaType.JSON, "application/*": MediaType.JSON}


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a client accepts.

    `json` is the JSON type it likes best, None when it takes neither. `events` is that it lists
    event streams, `prefers_events` that nothing it lists ranks above them: urql lists them with
    every query, last, and means JSON.
    """

    json: MediaType | None
    events: bool
    prefers_events: bool

    @property
    def errors_as(self) -> MediaType:
        """The type of an error answer: JSON even for who asked for something else."""
        return self.json or MediaType.JSON

    @property
    def tolerates_errors(self) -> bool:
        """Whether errors of a well-formed request come with 200.

        Only for `application/json`: who wants events takes 200 for the start of a stream.
        """
        return self.json is MediaType.JSON and not self.prefers_events


def negotiate(accept: str | None) -> Accepted:
    """Read an `Accept` header. Higher `q` first, then the order of the list.

    No header and `*/*` mean `application/json`, which every client reads: one that wants the
    status rules of `application/graphql-response+json` names it.
    """
    if accept is None or not accept.strip():
        return Accepted(MediaType.JSON, events=False, prefers_events=False)
    ranked: list[tuple[float, int, MediaType]] = []
    for position, entry in enumerate(accept.split(",")):
        name, *parameters = [part.strip().lower() for part in entry.split(";")]
        media = WILDCARDS.get(name)
        if media is None and name in set(MediaType):
            media = MediaType(name)
        quality = _quality(parameters)
        if media is not None and quality > 0:
            ranked.append((-quality, position, media))
    order = [media for _, _, media in sorted(ranked)]
    return Accepted(
        json=next((media for media in order if media is not MediaType.EVENTS), None),
        events=MediaType.EVENTS in order,
        prefers_events=bool(order) and order[0] is MediaType.EVENTS,
    )


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
