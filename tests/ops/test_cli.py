"""The command line says what is wrong in a sentence, and reads `.env`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, TypeAdapter
from sqlalchemy import text

from agents.models.catalogue import OfferedModel
from ops.model_choices import choose_models
from ops.processes import until_signalled
from persistence.model_choices import all_choices
from persistence.users import organization_by_slug
from resolvers.refusals import Refusal
from tests.world import ADMIN, APPROVE, SLUG, World


async def assay(
    cwd: Path, *arguments: str, given: str = "", **environment: str
) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of `assay …`, run in `cwd` with this environment alone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from ops.cli import app; app()",
        *arguments,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)} | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(given.encode())
    return process.returncode, out.decode(), err.decode()


NOWHERE = "postgresql://nobody:secret@127.0.0.1:1/assay"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["serve"], {"ASSAY_DATABASE_URL": NOWHERE}, "ConnectionRefused"),
        (["migrate"], {"ASSAY_DATABASE_URL": NOWHERE}, "ConnectionRefused"),
        (["serve"], {"ASSAY_DATABASE_URL": "mysql://x/y"}, "ASSAY_DATABASE_URL"),
        (["serve"], {"ASSAY_PORT": "high"}, "ASSAY_PORT"),
        (["worker"], {"ASSAY_DATA_DIR": "/proc/nowhere"}, "/proc/nowhere"),
        (["demo"], {"ASSAY_DATABASE_URL": NOWHERE}, "unset ASSAY_DATABASE_URL"),
    ],
)
async def test_what_cannot_be_used_is_named(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    code, _, err = await assay(tmp_path, *arguments, **environment)
    assert code == 1
    assert said in err
    assert "Traceback" not in err
    assert "secret" not in err


async def test_the_env_file_is_read_and_a_misspelt_name_is_mentioned(
    tmp_path: Path, world: World
) -> None:
    (tmp_path / ".env").write_text(
        f"ASSAY_DATABASE_URL={world.resources.database.direct_dsn}\nASSAY_PROT=1\n"
        f"ASSAY_DATA_DIR={tmp_path}\nASSAY_LOG_LEVEL=WARNING\n"
    )
    code, out, err = await assay(tmp_path, "token", ADMIN, "--organization", SLUG)
    assert code == 0, err
    assert out.count(".") == 2
    assert "ASSAY_PROT is no setting" in err


async def test_a_bad_key_file_is_named(tmp_path: Path, world: World) -> None:
    key = tmp_path / "signing.json"
    key.write_text("{}")
    given = {
        "ASSAY_DATABASE_URL": world.resources.database.direct_dsn,
        "ASSAY_SIGNING_KEY_FILE": str(key),
    }
    code, _, err = await assay(tmp_path, "token", ADMIN, "--organization", SLUG, **given)
    assert code == 1
    assert str(key) in err
    assert "Traceback" not in err


async def test_a_process_ends_with_a_part_that_fails() -> None:
    async def part() -> None:
        raise RuntimeError

    task = asyncio.create_task(part())
    async with asyncio.timeout(5):
        await until_signalled(task)
    assert isinstance(task.exception(), RuntimeError)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().remove_signal_handler(number)


STARTING = """
import asyncio
import typer
from ops.cli.console import run

async def main():
    try:
        print("starts", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("closed")

typer.run(lambda: run(main()))
"""


async def test_a_process_that_is_told_to_end_as_it_starts_closes_what_it_opened() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTING, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        assert process.stdout is not None
        assert await process.stdout.readline() == b"starts\n"
        process.terminate()
        out, _ = await process.communicate()
    assert (process.returncode, out) == (128 + signal.SIGTERM, b"closed\n")


async def test_models_and_budgets_are_chosen_and_audited(tmp_path: Path, world: World) -> None:
    dsn = world.resources.settings.database_url
    assert dsn is not None
    prices = '[{"name": "gemini:g", "prices": [{"from": "2026-01-01", "input": 1, "output": 2}]}]'
    environment = {"ASSAY_DATABASE_URL": dsn.get_secret_value(), "ASSAY_MODELS": prices}
    scope = ("--organization", SLUG, "--course", "NET")
    code, out, _ = await assay(tmp_path, "models", "budget", "500", *scope, **environment)
    said = "Spent this month: 0, set aside for calls that run: 0, in millionths of a USD.\n"
    assert (code, out) == (0, said)

    database = world.resources.database
    offering = world.resources.settings.model_copy(
        update={
            "models": TypeAdapter(tuple[OfferedModel, ...]).validate_json(prices),
            "gemini_api_key": SecretStr("k"),
        }
    )
    with pytest.raises(Refusal, match="is not approved"):
        await choose_models(database, offering, SLUG, "NET", "tutor", "gemini:g")
    admin = await world.client(ADMIN)
    await admin.change(APPROVE, provider="gemini", region="EU", reason="Contract")
    await choose_models(database, offering, SLUG, "NET", "tutor", "gemini:g")
    for role, models, said in (
        ("tutor", "gemini:other", "gemini:other is not offered"),
        ("judge", "gemini:g", "'judge' is not a seat"),
        ("tutor", "g", "Write a model as"),
    ):
        with pytest.raises(Refusal, match=said):
            await choose_models(database, offering, SLUG, "NET", role, models)
    async with database.read() as connection:
        organization = await organization_by_slug(connection, SLUG)
        assert organization is not None
        (choice,) = await all_choices(connection, organization.id)
        assert (choice.role, choice.models) == ("tutor", "gemini:g")
        actions = await connection.execute(text("SELECT action FROM audit_event"))
        assert {"setModelChoice", "setBudget"} <= set(actions.scalars())
