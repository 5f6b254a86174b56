"""What every command does: read the settings, run, and say an error in a sentence."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from agents.ports import EmbeddingUnavailable
from observability.logs import configure_logs, logger
from ops.audit import BadCheckpoint
from ops.demo.client import ApiError
from ops.embedded_postgres import EmbeddedPostgresError
from ops.processes import CannotListen
from ops.settings import Settings, SettingsError, load_settings, unknown_variables
from ops.signing_keys import SigningKeyError
from persistence.direct import DATABASE_ERRORS
from resolvers.refusals import Refusal

OrganizationName = Annotated[str, typer.Option(help="The organization's short name.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where the embedded database and the keys are kept.")
]
ENV_FILE = Path(".env")


def settings_of(
    data_dir: Path | None = None, port: int | None = None, log_level: str | None = None
) -> Settings:
    """The settings, those given here first; sets up the logs. Exits where they are wrong."""
    given = {
        "data_dir": data_dir and data_dir.expanduser().resolve(),
        "port": port,
        "log_level": log_level,
    }
    try:
        settings = load_settings(ENV_FILE, **{k: v for k, v in given.items() if v is not None})
    except SettingsError as e:
        stop(str(e))
    configure_logs(settings.log_level, json=settings.log_format == "json")
    for name in unknown_variables(os.environ, ENV_FILE):
        logger.warning("{} is no setting of Assay; .env.example lists them all.", name)
    return settings


def stop(message: str, code: int = 1) -> NoReturn:
    """Says so and exits."""
    typer.echo(message, err=code != 0)
    raise typer.Exit(code)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a command to its end. Exits 1 with a sentence for what can be foreseen.

    A SIGTERM ends it in order, unless the command takes it for itself.
    """
    try:
        asyncio.run(_until_ended(main))
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    except (
        ApiError,
        BadCheckpoint,
        CannotListen,
        EmbeddedPostgresError,
        EmbeddingUnavailable,
        Refusal,
        SigningKeyError,
    ) as e:
        stop(str(e))
    except DATABASE_ERRORS as e:
        stop(f"{type(e).__name__}: {str(getattr(e, 'orig', e)).splitlines()[0]}")
    except ExceptionGroup as e:
        logger.opt(exception=e).critical("A part of the process ended by itself.")
        stop("A part of the process ended by itself; the log says why.")


async def _until_ended(main: Coroutine[Any, Any, None]) -> None:
    # the first process of a container has no default: unheard, the signal would be lost
    running = asyncio.ensure_future(main)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await running
