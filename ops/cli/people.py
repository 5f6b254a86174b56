"""Administrators, and the data of a person."""

import sys
from typing import Annotated

import typer

from ops.bootstrap import create_admin, set_admin_password
from ops.cli.console import DataDir, OrganizationName, run, settings_of
from ops.privacy import erase_person, export_person
from ops.wiring import open_resources
from persistence.followers import RIGHTS_TOPIC

admin = typer.Typer(no_args_is_help=True, help="Administrators.")
person = typer.Typer(no_args_is_help=True, help="The data of a person.")


@admin.command("create")
def create(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    name: Annotated[str, typer.Option(help="The name they go by.")],
    organization: OrganizationName,
    organization_name: Annotated[
        str | None, typer.Option(help="Its full name, if it is new.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make somebody an admin of an organization, and the organization if it is new."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            person = await create_admin(
                resources.database,
                organization=organization_name or organization,
                slug=organization,
                email=email,
                name=name,
            )
            typer.echo(f"{person.name} <{person.email}> administers {organization}.")

    run(main())


@admin.command("password")
def password(
    email: Annotated[str, typer.Argument(help="An admin's e-mail address.")],
    organization: OrganizationName,
    data_dir: DataDir = None,
) -> None:
    """Set the password with which an admin signs in; it is read from the terminal or stdin."""
    if sys.stdin.isatty():
        chosen = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        chosen = sys.stdin.readline().rstrip("\n")

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            await set_admin_password(
                resources.database,
                resources.sign_in.hasher,
                slug=organization,
                email=email,
                password=chosen,
            )
            typer.echo(f"{email} signs in with the new password; other sessions are over.")

    run(main())


@person.command("export")
def person_export(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    organization: OrganizationName,
    data_dir: DataDir = None,
) -> None:
    """Print all that is stored of a person, as JSON."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            typer.echo(await export_person(resources.database, organization, email))

    run(main())


@person.command("erase")
def person_erase(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    organization: OrganizationName,
    data_dir: DataDir = None,
) -> None:
    """Erase a person's data for good; their grades stay under an id that names nobody."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            await erase_person(resources.database, organization, email)
            await resources.bus.publish(RIGHTS_TOPIC, {})
            typer.echo("Erased. Backups made before still hold the data.")

    run(main())
