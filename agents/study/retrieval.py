"""Several searches as one: reciprocal rank fusion of what each query found."""

import asyncio
from collections.abc import Sequence
from typing import Final

from agents.ports import Passage, PassageSearch, WebPage, WebSearch, WebUnavailable
from agents.study.concurrency import first_failure
from agents.study.messages import FoundPages

RANK_CONSTANT: Final = 60
"""k of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""


async def retrieved(
    search: PassageSearch, queries: Sequence[str], limit: int
) -> tuple[Passage, ...]:
    """At most `limit` distinct passages of all queries, searched at once, best first.

    Raises what the search raises; the other searches are cancelled then.
    """
    with first_failure():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_search(search, query, limit)) for query in queries]
    passages: dict[str, Passage] = {}
    scores: dict[str, float] = {}
    for task in tasks:
        for rank, passage in enumerate(task.result(), start=1):
            passages.setdefault(passage.chunk_id, passage)
            scores[passage.chunk_id] = scores.get(passage.chunk_id, 0) + 1 / (RANK_CONSTANT + rank)
    ranked = sorted(passages, key=lambda chunk_id: -scores[chunk_id])
    return tuple(passages[chunk_id] for chunk_id in ranked[:limit])


async def pages_found(web: WebSearch, queries: Sequence[str], limit: int) -> tuple[FoundPages, int]:
    """At most `limit` pages of all queries, the best of each first, and what they cost.

    A query that failed gives its reason; the others' pages stay.
    """
    pages: dict[str, WebPage] = {}
    cost, problem = 0, None
    found = await asyncio.gather(
        *(web.search(query, limit) for query in queries), return_exceptions=True
    )
    for one in found:
        if isinstance(one, WebUnavailable):
            problem = one.problem
        elif isinstance(one, BaseException):
            raise one
        else:
            cost += one.cost_micros
    ranked = [one.pages for one in found if not isinstance(one, BaseException)]
    for rank in range(limit):
        for mine in ranked:
            for page in mine[rank : rank + 1]:
                pages.setdefault(page.url, page)
    return FoundPages(pages=tuple(pages.values())[:limit], problem=problem), cost


async def _search(search: PassageSearch, query: str, limit: int) -> Sequence[Passage]:
    return await search.search(query, limit)
