"""A progress bar on the terminal's error stream."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn as Bar
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Counts towards a total; shows nothing when `hidden` or where no terminal is."""

    def __init__(self, what: str, *, hidden: bool = False) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            Bar(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=hidden or not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        """How far it is."""
        self._progress.update(self._task, completed=done, total=total)

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
