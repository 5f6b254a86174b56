"""The reader's process: what becomes of it, and of what it answers."""

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pytest

from agents.documents import reading
from agents.documents.extracted import ExtractionCode, ExtractionFailure, Limits
from agents.documents.reading import ReaderBroken, read_file
from tests.agents.documents.written import read, write_pptx

TEXT = b"# Title\n\nA paragraph.\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "original"
    made.write_bytes(TEXT)
    return made


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of the test's in the place of the reader."""

    def replace(body: str) -> None:
        program = tmp_path / "program"
        program.write_text(f"#!{sys.executable} -S\nimport os, signal, sys, time\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setattr(reading.sys, "executable", str(program))

    return replace


def answered(header: object, *parts: bytes) -> str:
    head = json.dumps(header).encode()
    return f"os.write(1, {len(head).to_bytes(8, 'big') + head + b''.join(parts)!r})"


async def test_it_reads_as_this_process_would(path: Path, tmp_path: Path) -> None:
    found = await read_file(path, file_name="x.md")
    here = read(TEXT, "x.md")
    assert (found.text, found.media_type, found.by_line) == (here.text, here.media_type, True)
    assert list(found.blocks) == list(here.blocks)
    slides = write_pptx([["One", "a"], ["Two", "b"]]).data
    await asyncio.to_thread(path.write_bytes, slides)
    assert list((await read_file(path, file_name="x.pptx")).anchors) == list(
        read(slides, "x.pptx").anchors
    )


async def test_it_gets_no_secret_no_file_and_no_child(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SECRET", "hush")
    package = tmp_path / "agents" / "documents"
    package.mkdir(parents=True)
    program = f"""
import os, json, resource, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from agents.documents.extracted import Limits
from agents.documents.reader import confine
confine(Limits())
try:
    with open({str(tmp_path / "made")!r}, "w") as file:
        file.write("x")
    wrote = True
except OSError:
    wrote = False
with open({str(tmp_path / "made")!r}) as file:
    wrote = wrote and bool(file.read())
print(json.dumps([sorted(os.environ), wrote, resource.getrlimit(resource.RLIMIT_CORE)]))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=-1,
        env=reading._environment(),  # noqa: SLF001
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    environment, wrote, core = json.loads(out)
    assert set(environment) <= {
        "LC_ALL",
        "LC_CTYPE",
        "OPENBLAS_NUM_THREADS",
        "__CF_USER_TEXT_ENCODING",
    }
    assert not wrote
    assert core == [0, 0]


@pytest.mark.parametrize(
    ("signal", "code"),
    [
        ("SIGSEGV", ExtractionCode.DAMAGED),
        ("SIGABRT", ExtractionCode.DAMAGED),
        ("SIGKILL", ExtractionCode.MEMORY_LIMIT),
        ("SIGXCPU", ExtractionCode.TIME_LIMIT),
    ],
)
async def test_a_reader_that_dies_of_a_file_says_why(
    path: Path, reader, signal: str, code: ExtractionCode
) -> None:
    reader(
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"os.write(1, b'half'); os.kill(os.getpid(), signal.{signal})"
    )
    with pytest.raises(ExtractionFailure) as failed:
        await read_file(path, file_name="x.txt")
    assert failed.value.code is code


async def test_one_that_hangs_is_killed_with_its_children(
    path: Path, tmp_path: Path, reader
) -> None:
    reader(
        "child = os.fork()\n"
        f"open({str(tmp_path)!r} + f'/{{os.getpid()}}.pid', 'w').close()\n"
        "time.sleep(600)"
    )
    task = asyncio.create_task(read_file(path, file_name="x.txt", limits=Limits(wall_seconds=2.0)))
    turns = 0
    while not task.done():  # the event loop turns meanwhile
        turns += 1
        await asyncio.sleep(0.01)
    with pytest.raises(ExtractionFailure) as failed:
        task.result()
    assert failed.value.code is ExtractionCode.TIME_LIMIT
    assert turns > 50
    pids = marked(tmp_path)
    assert len(pids) == 2
    async with asyncio.timeout(30):
        while any(running(pid) for pid in pids):  # noqa: ASYNC110 - nobody tells of a process
            await asyncio.sleep(0.02)


def marked(folder: Path) -> list[int]:
    return [int(made.stem) for made in folder.glob("*.pid")]


def read_mark(mark: Path) -> str:
    return mark.read_text() if mark.exists() else ""


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_cancelling_kills_it(path: Path, tmp_path: Path, reader) -> None:
    mark = tmp_path / "pid"
    reader(f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    task = asyncio.create_task(read_file(path, file_name="x.txt"))
    async with asyncio.timeout(30):
        while not read_mark(mark):  # noqa: ASYNC110 - nobody tells of a process
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(int(read_mark(mark)))


SOUND = {"sizes": [3, 28, 0], "media_type": "text/plain", "by_line": True}
BLOCK = b"".join(n.to_bytes(4, sys.byteorder) for n in (2, 0, 3, 0, 0, 0, 0))
OUTSIDE = b"".join(n.to_bytes(4, sys.byteorder) for n in (2, 0, 4, 0, 0, 0, 0))
UNKNOWN = b"".join(n.to_bytes(4, sys.byteorder) for n in (9, 0, 3, 0, 0, 0, 0))


async def test_a_sound_answer_is_taken(path: Path, reader) -> None:
    reader(answered(SOUND, b"abc", BLOCK) + "\nwhile True: os.write(1, b'x' * 65_536)")
    assert (await read_file(path, file_name="x.txt")).text == "abc"


@pytest.mark.parametrize(
    "body",
    [
        "sys.exit(1)",
        "",
        "os.write(1, b'\\xff' * 8)",
        answered([1]),
        answered({"failure": {"code": "NEW", "message": "", "advice": ""}}),
        answered({**SOUND, "sizes": [10**12, 0, 0]}),
        answered({**SOUND, "more": 1}),
        answered(SOUND, b"abc", OUTSIDE),
        answered(SOUND, b"abc", UNKNOWN),
        answered(SOUND, b"ab\xff", BLOCK),
        answered({**SOUND, "sizes": [3, 56, 0]}, b"abc", BLOCK, BLOCK),
        answered({**SOUND, "sizes": [3, 27, 0]}, b"abc", BLOCK),
        answered({**SOUND, "pictures": [[1, "image/png", 10**12]]}, b"abc", BLOCK),
        answered({**SOUND, "pictures": [[1, "image/png", 9]]}, b"abc", BLOCK),
        answered({**SOUND, "pictures": [[1, "image/svg+xml", 1]]}, b"abc", BLOCK, b"x"),
        answered({**SOUND, "pictures": [[1, "image/png", 0]] * 51}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[4, 1, 1, "Title"]]}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[2, 1, 1, "B"], [1, 1, 1, "A"]]}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[0, 0, 1, "Title"]]}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[0, 1, 1, "x" * 201]]}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[0, 1, 1, "NUL\x00"]]}, b"abc", BLOCK),
        answered({**SOUND, "headings": [[0, 1, 1, "e" + "\u0301" * 500]]}, b"abc", BLOCK),
        "while True: os.write(1, b'x' * 65_536)",
    ],
)
async def test_nonsense_is_not_taken_for_a_text(path: Path, reader, body: str) -> None:
    reader(body)
    with pytest.raises(ReaderBroken):
        await read_file(path, file_name="x.txt")


async def test_the_file_is_not_held_open(path: Path) -> None:
    before = open_files()
    for _ in range(3):
        await read_file(path, file_name="x.md")
    assert open_files() <= before + 1
