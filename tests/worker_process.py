"""`assay worker` as a process of its own, which a test may kill."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ops.settings import Settings


def model_environment(settings: Settings) -> dict[str, str]:
    """The variables by which a worker offers these models, in the same seats."""
    assert settings.model_server_key is not None
    models = [one.model_dump(mode="json", by_alias=True) for one in settings.models]
    return {
        "ASSAY_MODELS": json.dumps(models),
        "ASSAY_MODEL_SERVER_KEY": settings.model_server_key.get_secret_value(),
        "ASSAY_STUDY_MODELS": settings.study_models,
        "ASSAY_GRADING_MODELS": settings.grading_models,
        "ASSAY_PICTURE_MODELS": settings.picture_models,
    }


@asynccontextmanager
async def worker_process(
    settings: Settings, dsn: str, **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """On this database, with nothing of this environment; ended at the end.

    Raises AssertionError, with what it printed, when it ended by itself.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(settings.data_dir),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "ASSAY_DATABASE_URL": dsn,
        "ASSAY_DATA_DIR": str(settings.data_dir),
        "ASSAY_LOG_LEVEL": "WARNING",
        "ASSAY_LEASE_SECONDS": "5",
    }
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from ops.cli import app; app()",
            "worker",
            cwd=settings.data_dir,  # where no .env of a developer's lies
            env=environment | variables,
            stderr=log,
        )
        try:
            yield process
            log.seek(0)
            assert process.returncode in {None, 0, -signal.SIGKILL}, log.read()[-3_000:].decode()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
