"""The command line."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from agents.ports import EmbeddingUnavailable
from observability.logs import configure_logs, logger
from ops import audit
from ops.audit import BadCheckpoint
from ops.bootstrap import command_event, create_admin, find_user, set_admin_password
from ops.demo.client import ApiError
from ops.demo.run import run_demo
from ops.embedded_postgres import EmbeddedPostgresError
from ops.evaluation import evaluate_retrieval, figures_table, read_collection
from ops.privacy import erase_person, export_person
from ops.processes import probing, serving, until_signalled, working
from ops.progress import ProgressBar
from ops.reindex import estimate, give_up_or_drop, reindex
from ops.settings import Settings, SettingsError, load_settings, unknown_variables
from ops.signing_keys import SigningKeyError, SigningKeys
from ops.wiring import database_address, direct_address, open_resources, prepare_database
from persistence.audit import append
from persistence.direct import DATABASE_ERRORS
from persistence.followers import RIGHTS_TOPIC
from resolvers.refusals import Refusal
from schema.root import build_schema

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
admin = typer.Typer(no_args_is_help=True, help="Administrators.")
app.add_typer(admin, name="admin")
person = typer.Typer(no_args_is_help=True, help="The data of a person.")
app.add_typer(person, name="person")
keys = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")
app.add_typer(keys, name="keys")
evaluate = typer.Typer(no_args_is_help=True, help="Measure how well Assay does its work.")
app.add_typer(evaluate, name="evaluate")
audit_log = typer.Typer(no_args_is_help=True, help="The audit log.")
app.add_typer(audit_log, name="audit")

DataDir = Annotated[
    Path | None, typer.Option(help="Where the embedded database and the keys are kept.")
]
Port = Annotated[int | None, typer.Option(help="The port to listen on.")]
ENV_FILE = Path(".env")


def _settings(
    data_dir: Path | None = None, port: int | None = None, log_level: str | None = None
) -> Settings:
    given = {
        "data_dir": data_dir and data_dir.expanduser().resolve(),
        "port": port,
        "log_level": log_level,
    }
    try:
        settings = load_settings(ENV_FILE, **{k: v for k, v in given.items() if v is not None})
    except SettingsError as e:
        _stop(str(e))
    configure_logs(settings.log_level, json=settings.log_format == "json")
    for name in unknown_variables(os.environ, ENV_FILE):
        logger.warning("{} is no setting of Assay; .env.example lists them all.", name)
    return settings


def _stop(message: str, code: int = 1) -> NoReturn:
    typer.echo(message, err=code != 0)
    raise typer.Exit(code)


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(main)
    except (
        ApiError,
        BadCheckpoint,
        EmbeddedPostgresError,
        EmbeddingUnavailable,
        Refusal,
        SigningKeyError,
    ) as e:
        _stop(str(e))
    except DATABASE_ERRORS as e:
        _stop(f"{type(e).__name__}: {str(getattr(e, 'orig', e)).splitlines()[0]}")
    except ExceptionGroup as e:
        logger.opt(exception=e).critical("A part of the process ended by itself.")
        _stop("A part of the process ended by itself; the log says why.")


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
            parts = [await stack.enter_async_context(working(resources))] if with_worker else []
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
            await prepare_database(settings, direct_address(settings, dsn))

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
        if settings.database_url is not None:
            _stop("The demo has a database of its own: unset ASSAY_DATABASE_URL, in .env too.")
        console.print(f"Starting the embedded PostgreSQL in {settings.data_dir} …")
        async with (
            open_resources(settings) as resources,
            working(resources) as work,
            serving(resources) as base_url,
        ):
            await run_demo(resources, base_url, console)
            if not no_serve:
                console.print(f"Serving at {base_url}/graphql. Stop with Ctrl-C.")
                await until_signalled(work)

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
            event = command_event(found[1], "issueToken", "User", [found[0]])
            async with resources.database.transaction() as connection:
                await append(connection, event, {"hours": hours}, {})
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


@admin.command("password")
def password(
    email: Annotated[str, typer.Argument(help="An admin's e-mail address.")],
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    data_dir: DataDir = None,
) -> None:
    """Set the password with which an admin signs in; it is read from the terminal or stdin."""
    if sys.stdin.isatty():
        chosen = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        chosen = sys.stdin.readline().rstrip("\n")

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            await set_admin_password(
                resources.database,
                resources.sign_in.hasher,
                slug=organization,
                email=email,
                password=chosen,
            )
            typer.echo(f"{email} signs in with the new password; other sessions are over.")

    _run(main())


@person.command("export")
def person_export(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    data_dir: DataDir = None,
) -> None:
    """Print all that is stored of a person, as JSON."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            typer.echo(await export_person(resources.database, organization, email))

    _run(main())


@person.command("erase")
def person_erase(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    data_dir: DataDir = None,
) -> None:
    """Erase a person's data for good; their grades stay under an id that names nobody."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            await erase_person(resources.database, organization, email)
            await resources.bus.publish(RIGHTS_TOPIC, {})
            typer.echo("Erased. Backups made before still hold the data.")

    _run(main())


@keys.command("rotate")
def keys_rotate(
    now: Annotated[
        bool, typer.Option("--now", help="A key leaked: end every token it signed, at once.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Add a signing key that signs in 15 minutes, and drop those that are no longer needed.

    Running processes read the file again by themselves.
    """
    path = _settings(data_dir, log_level="WARNING").signing_key_path
    try:
        rotated = SigningKeys.load(path).rotated(at_once=now)
        rotated.save(path)
    except (OSError, SigningKeyError) as e:
        _stop(f"{path}: {getattr(e, 'strerror', None) or e}")
    kids = ", ".join(key["kid"] for key in rotated.public_jwks()["keys"])
    typer.echo(f"{path} has now: {kids}")


@audit_log.command("verify")
def audit_verify(
    organization: Annotated[str | None, typer.Option(help="This one alone.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A file of what `assay audit checkpoint` printed before.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compute the chains of the audit log again; exit 1 when one was tampered with."""

    async def main() -> None:
        lines = [] if checkpoint is None else checkpoint.read_text().splitlines()
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            verdicts = await audit.verify(resources.database, organization, lines, resources.keys)
        for verdict in verdicts:
            typer.echo(audit.described(verdict))
        if not verdicts:
            _stop("There is no such organization.")
        if any(verdict.problems for verdict in verdicts):
            raise typer.Exit(1)

    _run(main())


@audit_log.command("checkpoint")
def audit_checkpoint(data_dir: DataDir = None) -> None:
    """Print the signed heads of the chains: keep them where nobody of this server writes."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            async for line in audit.checkpoints(resources.database, resources.keys):
                typer.echo(line)

    _run(main())


@audit_log.command("export")
def audit_export(
    organization: Annotated[str, typer.Option(help="The organization's short name.")],
    data_dir: DataDir = None,
) -> None:
    """Print an organization's audit log, a JSON object a line."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            async for line in audit.export(resources.database, organization):
                typer.echo(line)

    _run(main())


@evaluate.command("retrieval")
def evaluate_search(
    folder: Annotated[Path, typer.Argument(help="Holds documents.jsonl and queries.jsonl.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object alone.")] = False,
) -> None:
    """Measure search over a collection: nDCG@10, recall@100 and time, by component."""

    async def main() -> None:
        settings = _settings(log_level="ERROR")
        collection = read_collection(folder)
        with ProgressBar("documents", hidden=as_json) as bar:
            figures = await evaluate_retrieval(collection, settings, bar)
        typer.echo(json.dumps(figures) if as_json else figures_table(figures))

    _run(main())


@app.command("reindex")
def reindex_search(
    model: Annotated[str | None, typer.Option(help="provider:model@dimension.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="US$ a million tokens.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up a build.")] = False,
    drop: Annotated[bool, typer.Option("--drop-retired", help="Remove old vectors.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Search by another embedding model; the present one serves until the new index is whole."""

    async def main() -> None:
        async with open_resources(_settings(data_dir, log_level="WARNING")) as resources:
            if (model is not None) + abandon + drop != 1:
                _stop("Say one of --model, --abandon and --drop-retired.")
            if model is None:
                _stop(await give_up_or_drop(resources.database, dropping=drop), code=0)
            typer.echo(f"{model}: {await estimate(resources.database, model, price)}.")
            if not yes and not typer.confirm("Begin?"):
                return
            with ProgressBar("passages") as bar:
                old = await reindex(resources.database, resources.embedders, model, bar)
            typer.echo(f"{model} serves now" + (f"; {old} is retired." if old else "."))

    _run(main())


@app.command("schema")
def print_schema() -> None:
    """Print the GraphQL schema."""
    sys.stdout.write(build_schema().as_str() + "\n")
