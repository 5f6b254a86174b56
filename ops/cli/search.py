"""Search: how well it works, and by which model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ops.cli.console import DataDir, run, settings_of, stop
from ops.evaluation import evaluate_retrieval, figures_table, read_collection
from ops.progress import ProgressBar
from ops.reindex import estimate, give_up_or_drop, reindex
from ops.wiring import open_resources

evaluate = typer.Typer(no_args_is_help=True, help="Measure how well Assay does its work.")


@evaluate.command("retrieval")
def evaluate_search(
    folder: Annotated[Path, typer.Argument(help="Holds documents.jsonl and queries.jsonl.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object alone.")] = False,
) -> None:
    """Measure search over a collection: nDCG@10, recall@100 and time, by component."""

    async def main() -> None:
        settings = settings_of(log_level="ERROR")
        collection = read_collection(folder)
        with ProgressBar("documents", hidden=as_json) as bar:
            figures = await evaluate_retrieval(collection, settings, bar)
        typer.echo(json.dumps(figures) if as_json else figures_table(figures))

    run(main())


def reindex_search(
    model: Annotated[str | None, typer.Option(help="provider:model@dimension.")] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens, in ASSAY_CURRENCY.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a build.")] = False,
    drop: Annotated[bool, typer.Option("--drop-retired", help="Remove old vectors.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Search by another embedding model; the present one serves until the new index is whole."""

    async def main() -> None:
        settings = settings_of(data_dir, log_level="WARNING")
        async with open_resources(settings) as resources:
            if (model is not None) + abandon + drop != 1:
                stop("Say one of --model, --abandon and --drop-retired.")
            if model is None:
                stop(await give_up_or_drop(resources.database, dropping=drop), code=0)
            planned = await estimate(
                resources.database,
                model,
                price,
                own=settings.embedding_prices,
                currency=settings.currency,
            )
            typer.echo(f"{model}: {planned}.")
            if not yes and not typer.confirm("Begin?"):
                return
            with ProgressBar("passages") as bar:
                old = await reindex(resources.database, resources.embedders, model, bar)
            typer.echo(f"{model} serves now" + (f"; {old} is retired." if old else "."))

    run(main())
