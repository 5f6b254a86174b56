"""The command line."""

import contextlib
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from ops.cli.audit import audit_log
from ops.cli.console import DataDir, run, settings_of, stop
from ops.cli.keys import keys, token
from ops.cli.models import models
from ops.cli.people import admin, person
from ops.cli.search import evaluate, reindex_search
from ops.demo.run import run_demo
from ops.processes import probing, quiet_collector, serving, until_signalled, working
from ops.wiring import database_address, direct_address, open_resources, prepare_database
from schema.root import build_schema

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(admin, name="admin")
app.add_typer(person, name="person")
app.add_typer(keys, name="keys")
app.add_typer(evaluate, name="evaluate")
app.add_typer(audit_log, name="audit")
app.add_typer(models, name="models")
app.command("token")(token)
app.command("reindex")(reindex_search)

Port = Annotated[int | None, typer.Option(help="The port to listen on.")]


@app.command()
def serve(
    data_dir: DataDir = None,
    port: Port = None,
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Run a worker in this process as well.")
    ] = False,
) -> None:
    """Serve the GraphQL API."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            resources = await stack.enter_async_context(open_resources(settings_of(data_dir, port)))
            parts = [await stack.enter_async_context(working(resources))] if with_worker else []
            await stack.enter_async_context(serving(resources))
            quiet_collector()
            await until_signalled(*parts)

    run(main())


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run grading, answering and ingesting jobs."""

    async def main() -> None:
        async with (
            open_resources(settings_of(data_dir)) as resources,
            working(resources) as work,
            probing(resources, work),
        ):
            quiet_collector()
            await until_signalled(work)

    run(main())


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version's schema."""

    async def main() -> None:
        settings = settings_of(data_dir)
        async with database_address(settings) as dsn:
            await prepare_database(settings, direct_address(settings, dsn))

    run(main())


@app.command()
def demo(
    data_dir: DataDir = None,
    port: Port = None,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="Leave when the demo is over.")
    ] = False,
) -> None:
    """Show the main job: from an empty folder to a released grade."""
    console = Console()

    async def main() -> None:
        settings = settings_of(data_dir, port, os.environ.get("ASSAY_LOG_LEVEL", "WARNING"))
        if settings.database_url is not None:
            stop("The demo has a database of its own: unset ASSAY_DATABASE_URL, in .env too.")
        console.print(f"Starting the embedded PostgreSQL in {settings.data_dir} …")
        async with (
            open_resources(settings) as resources,
            working(resources) as work,
            serving(resources) as base_url,
        ):
            await run_demo(resources, base_url, console)
            if no_serve:
                again = f"assay serve --with-worker --data-dir {settings.data_dir}"
                console.print(f"The demo ends here. To look around: {again}", soft_wrap=True)
            else:
                console.print(f"Serving at {base_url}/graphql. Stop with Ctrl-C.")
                await until_signalled(work)

    run(main())


@app.command("schema")
def print_schema() -> None:
    """Print the GraphQL schema."""
    sys.stdout.write(build_schema().as_str() + "\n")
