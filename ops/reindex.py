"""`assay reindex`: another embedding model, online: the old index serves until the new is whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from agents.models.catalogue import MILLION
from agents.models.embedders.choice import EmbeddingModels
from agents.models.embedders.prices import EmbeddingPrices, is_free, price_of
from agents.ports import Embedder
from persistence import embeddings, providers
from persistence.database import Database, Duplicate
from persistence.lifecycle.embeddings import IndexState
from resolvers.refusals import Refusal, RefusalCode

BATCH_CHUNKS = 64
CHARACTERS_PER_TOKEN = 4.0
"""Of English prose, which estimates go by."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Estimate:
    """What is left to do, and about what it costs, in `currency`; None where nobody knows the
    price. `source` says where the price is from."""

    chunks: int
    tokens: int
    cost: float | None
    currency: str
    source: str | None = None

    def __str__(self) -> str:
        cost = "at an unknown price"
        if self.cost is not None:
            cost = f"about {self.cost:,.2f} {self.currency}" if self.cost else "on this machine"
        source = "" if self.source is None else f" ({self.source})"
        return f"{self.chunks:,} passages, about {self.tokens:,} tokens, {cost}{source}"


async def estimate(
    database: Database,
    model: str,
    price: float | None = None,
    *,
    own: Sequence[EmbeddingPrices] = (),
    currency: str = "USD",
) -> Estimate:
    """What an index of `model` lacks. `price` is in the currency, for a million tokens, and goes
    before the price table, whose `own` part is the operator's.

    Raises `EmbeddingUnavailable` for what is no name of a model.
    """
    known = price_of(model, datetime.now(UTC).date(), own, currency)
    source = None
    if price is None and is_free(model):
        price = 0.0
    elif price is None and known is not None:
        price = known.input / MILLION
        source = known.source and f"{known.source}; from {known.since}"
    async with database.read() as connection:
        lacking = await embeddings.missing(connection, model)
    tokens = round(lacking.characters / CHARACTERS_PER_TOKEN)
    cost = None if price is None else price * tokens / MILLION
    return Estimate(lacking.chunks, tokens, cost, currency, source)


async def reindex(
    database: Database, models: EmbeddingModels, model: str, progress: Progress
) -> str | None:
    """Builds the index of `model` and switches to it; the model that served before.

    May be stopped at any time and run again: it goes on where it was. Documents ingested meanwhile
    are indexed by both models. Raises `Refusal` and `EmbeddingUnavailable`.
    """
    embedder = models.documents(model)
    await _check_approved(database, models.provider(model))
    await embedder.embed(["ready"])  # a wrong key or name is found before anything is changed
    try:
        async with database.transaction() as connection:
            state = await embeddings.begin_building(connection, model)
    except Duplicate as error:
        raise Refusal(
            RefusalCode.CONFLICT,
            "An index of another model is being built: finish it, or give it up with --abandon.",
        ) from error
    if state is IndexState.READY:
        raise Refusal(RefusalCode.CONFLICT, f"{model} serves already.")
    await _fill(database, embedder, model, progress)
    await embeddings.build_hnsw(database, model)
    # What an ingest that began before the index was announced has added without it.
    await _fill(database, embedder, model, progress)
    async with database.transaction() as connection:
        return await embeddings.switch(connection, model)


async def _check_approved(database: Database, provider: str) -> None:
    async with database.read() as connection:
        unapproving = await providers.unapproving(connection, provider)
    if unapproving:
        raise Refusal(
            RefusalCode.FORBIDDEN,
            f"{', '.join(unapproving[:5])} would send course material to {provider} without having "
            "approved it: an admin of each does so with approveProvider.",
        )


async def abandon(database: Database) -> str:
    """Gives up the index that is being built, and its vectors. Raises `Refusal`."""
    async with database.transaction() as connection:
        live = await embeddings.live_indexes(connection)
        building = [row.model for row in live if row.state == IndexState.BUILDING]
        if not building:
            raise Refusal(RefusalCode.INVALID_STATE, "No index is being built.")
        await embeddings.abandon(connection, building[0])
    await embeddings.drop_retired(database, building[0])
    return building[0]


async def _fill(database: Database, embedder: Embedder, model: str, progress: Progress) -> None:
    async with database.read() as connection:
        total = (await embeddings.missing(connection, model)).chunks
    done, after = 0, None
    while True:
        async with database.read() as connection:
            rows = await embeddings.next_missing(connection, model, after, BATCH_CHUNKS)
        if not rows:
            return
        vectors = await embedder.embed([row.text for row in rows])  # no connection is held
        async with database.transaction() as connection:
            there = await embeddings.still_there(connection, [row.id for row in rows])
            kept = [at for at, row in enumerate(rows) if row.id in there]
            await embeddings.add_vectors(
                connection, model, [rows[at] for at in kept], vectors[kept]
            )
        done, after = done + len(rows), rows[-1].id
        progress(done, max(done, total))


async def give_up_or_drop(database: Database, *, dropping: bool) -> str:
    """Gives up what is being built, or removes what no longer serves; says what was done."""
    if not dropping:
        return f"Gave up the index of {await abandon(database)}."
    async with database.read() as connection:
        retired = await embeddings.retired_models(connection)
    lines = [
        f"Removed {await embeddings.drop_retired(database, model):,} vectors of {model}."
        for model in retired
    ]
    return "\n".join(lines) or "There is no index that no longer serves."
