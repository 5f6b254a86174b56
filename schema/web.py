"""The web as the tutor may use it, and what its answers took from there."""

from datetime import datetime

import strawberry

from schema.fields import described


@strawberry.type(description="What of the web the tutor of a course may search.")
class WebPolicy:
    enabled: bool = described("Whether it may search at all.")
    allowed_domains: list[str] = described(
        "Only these domains and what is below them; empty for all."
    )
    denied_domains: list[str] = described("Never these domains nor what is below them.")


@strawberry.type(description="A page of the web, as it was found for an answer.")
class WebSource:
    url: str = described("Its address, http or https.")
    title: str = described("Its title; its address where it has none.")
    extract: str = described("The text that quotes are checked against; plain text.")
    fetched_at: datetime = described("When it was found.")
