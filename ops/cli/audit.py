"""The audit log."""

from pathlib import Path
from typing import Annotated

import typer

from ops import audit
from ops.cli.console import DataDir, OrganizationName, run, settings_of, stop
from ops.wiring import open_resources

audit_log = typer.Typer(no_args_is_help=True, help="The audit log.")


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
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            verdicts = await audit.verify(resources.database, organization, lines, resources.keys)
        for verdict in verdicts:
            typer.echo(audit.described(verdict))
        if not verdicts:
            stop("There is no such organization.")
        if any(verdict.problems for verdict in verdicts):
            raise typer.Exit(1)

    run(main())


@audit_log.command("checkpoint")
def audit_checkpoint(data_dir: DataDir = None) -> None:
    """Print the signed heads of the chains: keep them where nobody of this server writes."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            async for line in audit.checkpoints(resources.database, resources.keys):
                typer.echo(line)

    run(main())


@audit_log.command("export")
def audit_export(
    organization: OrganizationName,
    data_dir: DataDir = None,
) -> None:
    """Print an organization's audit log, a JSON object a line."""

    async def main() -> None:
        async with open_resources(settings_of(data_dir, log_level="WARNING")) as resources:
            async for line in audit.export(resources.database, organization):
                typer.echo(line)

    run(main())
