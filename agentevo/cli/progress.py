"""`RunProgress`: how far a run is, on stderr: success rate, tokens, time left.

A terminal gets a live bar; anything else gets a line at every tenth of the way.
"""

import threading
from types import TracebackType
from typing import Any, Self

from agentevo.cli.output import stderr_console
from agentevo.events import Event

_TENTHS = 10


class RunProgress:
    """Takes the events of a run and shows them; use it as a context manager.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = stderr_console()
        self._quiet = quiet
        self._lock = threading.Lock()
        self._total = self._done = self._solved = self._tokens = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._bar = _make_bar(self._console)
            self._task = self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event; may be called from any thread."""
        data = event["data"]
        with self._lock:
            match event["type"]:
                case "agentevo.run_started" | "agentevo.run_resumed":
                    self._start(data)
                case "agentevo.acted":
                    self._tokens += data.get("input_tokens", 0) + data.get("output_tokens", 0)
                    self._show_bar()
                case "agentevo.episode_finished":
                    self._done += 1
                    self._solved += bool(data.get("solved"))
                    self._show_bar()
                    self._show_line()

    def _start(self, data: dict[str, Any]) -> None:
        self._total = data.get("total", 0)
        self._done = data.get("finished", 0)
        self._solved = data.get("solved", 0)
        self._show_bar()

    def _show_bar(self) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                total=self._total or None,
                completed=self._done,
                description=self._figures(),
            )

    def _show_line(self) -> None:
        step = max(1, self._total // _TENTHS)
        if self._bar is None and not self._quiet and self._done % step == 0:
            self._console.print(f"{self._done}/{self._total} {self._figures()}")

    def _figures(self) -> str:
        rate = f"{self._solved / self._done:.0%}" if self._done else "-"
        return f"solved {rate}, {self._tokens:,} tokens"


def _make_bar(console: Any) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), text, Elapsed(), TextColumn("left"), Remaining())
    return Progress(*columns, console=console, transient=True)
