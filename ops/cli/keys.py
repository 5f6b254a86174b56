"""The keys that sign access tokens, and tokens made by hand."""

import asyncio
from typing import Annotated

import typer

from ops import audit
from ops.bootstrap import command_event, find_user
from ops.cli.console import DataDir, OrganizationName, run, settings_of, stop
from ops.embedded_postgres import EmbeddedPostgresError
from ops.signing_keys import SigningKeyError, SigningKeys
from ops.wiring import database_address, open_resources
from persistence.audit import append
from persistence.database import open_database
from persistence.direct import DATABASE_ERRORS

keys = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")


def token(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")],
    organization: OrganizationName,
    data_dir: DataDir = None,
    hours: Annotated[float, typer.Option(min=0.01, max=12, help="How long it is valid.")] = 0.25,
) -> None:
    """Print an access token for somebody."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            found = await find_user(resources.database, slug=organization, email=email)
            if found is None:
                stop(f"Nobody in {organization!r} has the address {email!r}.")
            event = command_event(found[1], "issueToken", "User", [found[0]])
            async with resources.database.transaction() as connection:
                await append(connection, event, {"hours": hours}, {})
            typer.echo(resources.issue_token(*found, int(hours * 3600)))

    run(main())


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
    settings = settings_of(data_dir, log_level="WARNING")
    path = settings.signing_key_path
    try:
        rotated = SigningKeys.load(path).rotated(at_once=now)
        rotated.save(path)
    except (OSError, SigningKeyError) as e:
        stop(f"{path}: {getattr(e, 'strerror', None) or e}")
    kids = [key["kid"] for key in rotated.public_jwks()["keys"]]
    typer.echo(f"{path} has now: {', '.join(kids)}")

    async def note() -> None:
        async with database_address(settings) as dsn, open_database(dsn) as database:
            await audit.note_rotation(database, kids, at_once=now)

    try:
        asyncio.run(note())
    except (EmbeddedPostgresError, *DATABASE_ERRORS) as e:
        typer.echo(f"The keys are rotated; the audit log does not say so: {e}", err=True)
