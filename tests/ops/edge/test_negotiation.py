"""Which media type answers."""

import pytest

from ops.edge.negotiation import Accepted, MediaType, negotiate

URQL = (
    "application/graphql-response+json, application/graphql+json, application/json, "
    "text/event-stream, multipart/mixed"
)


@pytest.mark.parametrize(
    ("accept", "json", "events", "prefers_events"),
    [
        (None, MediaType.JSON, False, False),
        ("*/*", MediaType.JSON, False, False),
        ("application/json", MediaType.JSON, False, False),
        ("application/graphql-response+json", MediaType.RESPONSE, False, False),
        ("application/graphql-response+json, application/json", MediaType.RESPONSE, False, False),
        (
            "application/graphql-response+json;q=0.5, application/json;q=0.9",
            MediaType.JSON,
            False,
            False,
        ),
        ("text/event-stream", None, True, True),
        ("text/event-stream, application/json", MediaType.JSON, True, True),
        ("application/json, text/event-stream", MediaType.JSON, True, False),
        ("application/json;q=0.8, text/event-stream", MediaType.JSON, True, True),
        ("text/event-stream;q=0", None, False, False),
        ("text/event-stream, multipart/mixed", None, True, True),
        (URQL, MediaType.RESPONSE, True, False),
        ("text/html, image/png", None, False, False),
        ("application/json;q=nonsense", None, False, False),
        ("APPLICATION/JSON; charset=utf-8; q=1", MediaType.JSON, False, False),
    ],
)
def test_negotiation(
    accept: str | None, json: MediaType | None, events: bool, prefers_events: bool
) -> None:
    assert negotiate(accept) == Accepted(json, events=events, prefers_events=prefers_events)
