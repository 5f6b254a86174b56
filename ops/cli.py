"""The command line."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from observability.logs import configure_logs
from ops.bootstrap import create_admin, find_user
from ops.demo.client import ApiError
from ops.demo.run import run_demo
from ops.embedded_postgres import EmbeddedPostgresError
from ops.processes import CannotListen, probing, serving, until_signalled, working
from ops.settings import Settings, SettingsError, load_settings
from ops.wiring import database_address, direct_address, open_resources
from persistence.migrations import migrate as migrate_database
from resolvers.refusals import Refusal
from schema.root import build_schema

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
admin = typer.Typer(no_args_is_help=True, help="Administrators.")
app.add_typer(admin, name="admin")

DataDir = Annotated[
    Path | None, typer.Option(help="Where the embedded database and the keys are kept.")
]
Port = Annotated[int | None, typer.Option(help="The port to listen on.")]
LONGEST_TOKEN = 12 * 3600


def _settings(
    data_dir: Path | None = None, port: int | None = None, log_level: str | None = None
) -> Settings:
    given = {
        "data_dir": data_dir and data_dir.expanduser().resolve(),
        "port": port,
        "log_level": log_level,
    }
    try:
        settings = load_settings(None, **{k: v for k, v in given.items() if v is not None})
    except SettingsError as e:
        _stop(str(e))
    configure_logs(settings.log_level, json=settings.log_format == "json")
    return settings


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(main)
    except (ApiError, CannotListen, EmbeddedPostgresError, Refusal) as e:
        _stop(str(e))


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
            resources = await stack.enter_async_context(open_resources(_settings(data_dir, port)))
            parts = []
            if with_worker:
                parts.append(await stack.enter_async_context(working(resources)))
            await stack.enter_async_context(serving(resources))
            await until_signalled(*parts)

    _run(main())


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run grading, answering and ingesting jobs."""

    async def main() -> None:
        async with (
            open_resources(_settings(data_dir)) as resources,
            working(resources) as work,
            probing(resources, work),
        ):
            await until_signalled(work)

    _run(main())


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version's schema."""

    async def main() -> None:
        settings = _settings(data_dir)
        async with database_address(settings) as dsn:
            await migrate_database(direct_address(settings, dsn))

    _run(main())


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
        settings = _settings(data_dir, port, os.environ.get("ASSAY_LOG_LEVEL", "WARNING"))
        console.print(f"Starting the embedded PostgreSQL in {settings.data_dir} …")
        async with (
            open_resources(settings) as resources,
            working(resources),
            serving(resources) as base_url,
        ):
            await run_demo(resources, base_url, console)
            if not no_serve:
                console.print(f"Serving at {base_url}/graphql. Stop with Ctrl-C.")
                await until_signalled()

    _run(main())


@app.command()
def token(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")],
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    data_dir: DataDir = None,
    hours: Annotated[float, typer.Option(min=0.01, max=12, help="How long it is valid.")] = 0.25,
) -> None:
    """Print an access token for somebody."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            found = await find_user(resources.database, slug=organization, email=email)
            if found is None:
                _stop(f"Nobody in {organization!r} has the address {email!r}.")
            typer.echo(resources.issue_token(*found, int(hours * 3600)))

    _run(main())


@admin.command("create")
def create(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    name: Annotated[str, typer.Option(help="The name they go by.")],
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    organization_name: Annotated[
        str | None, typer.Option(help="Its full name, if it is new.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make the first admin of an organization, and the organization if it is new."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            person = await create_admin(
                resources.database,
                organization=organization_name or organization,
                slug=organization,
                email=email,
                name=name,
            )
            typer.echo(f"{person.name} <{person.email}> administers {organization}.")

    _run(main())


@app.command("schema")
def print_schema() -> None:
    """Print the GraphQL schema."""
    sys.stdout.write(build_schema().as_str() + "\n")
