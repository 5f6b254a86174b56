"""A query of the web as it may leave the house: without who asks, and whom they know from here."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from agents.grading.naming import Identity, folded, forms_of, units_of
from agents.grading.redaction import E_MAIL, NAME, NUMBER, redact
from agents.ports import WebFound, WebProblem, WebSearch
from agents.web.tavily import without_personal

_MARKERS: Final = re.compile(
    rf"(?:{'|'.join(map(re.escape, (NAME, E_MAIL, NUMBER)))})(?:['\u2019]s\b)?"
)
_NOT_HEARD: Final = re.compile(r"[\W_]+")
_SURE: Final = 3
"""Letters from which on a part of a name is looked for inside of words, as in `annlee7`."""


@dataclass(frozen=True)
class PrivateSearch:
    """A `WebSearch` that is never told a name. `asker` is who studies, `others` the people of the
    course, who are looked for only where a part of their name or address is in the query: all
    ways of writing everybody's name would take seconds."""

    search_service: WebSearch
    asker: Identity
    others: Sequence[Identity] = field(default=(), repr=False)

    @property
    def problem(self) -> WebProblem | None:
        """See `WebSearch.problem`."""
        return self.search_service.problem

    async def search(self, query: str, limit: int) -> WebFound:
        """See `WebSearch.search`. Nothing is asked where nothing but names is left."""
        asked = await asyncio.to_thread(impersonal, query, self.asker, self.others)
        if not any(character.isalnum() for character in asked):
            return WebFound(())
        return await self.search_service.search(asked, limit)


def impersonal(query: str, asker: Identity, others: Sequence[Identity]) -> str:
    """The query without names, e-mail addresses, numbers and ids of these people."""
    text = redact(without_personal(query), asker).text
    heard = folded(text).text
    words, letters = set(_NOT_HEARD.split(heard)), _NOT_HEARD.sub("", heard)
    for other in others:
        if any(part in (letters if len(part) >= _SURE else words) for part in _parts(other)):
            text = redact(text, other).text
    return " ".join(_MARKERS.sub(" ", text).split())


def _parts(person: Identity) -> set[str]:
    """The words of a name and of an address, as they sound."""
    parts = {_NOT_HEARD.sub("", form) for unit in units_of(person.name) for form in forms_of(unit)}
    local = folded(person.email.partition("@")[0]).text
    parts.add(_NOT_HEARD.sub("", local).rstrip("0123456789"))
    return parts - {""}
