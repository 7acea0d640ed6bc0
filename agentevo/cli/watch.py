"""`EvolutionWatch`: how an evolution goes, live on stderr: success, rules, tokens, step by step.

A terminal gets a table that grows and a line that says what happens now; anything else gets a line
per step.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from agentevo.cli.output import stderr_console, table
from agentevo.events import Event

_TELLING = frozenset(
    {
        *("acted", "episode_finished", "round_started", "practised", "memory_updated"),
        *("round_finished", "distillation_started", "taught", "distilling"),
        *("distillation_finished", "weights_judged"),
    }
)
_COLUMNS = ("step", "practised", "memory", "held-out success", "verdict", "tokens", "s")


class EvolutionWatch:
    """Takes the events of an evolution and shows them; use it as a context manager.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = stderr_console()
        self._quiet = quiet
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._rows: list[Sequence[str]] = []
        self._row: dict[str, str] = {}
        self._now = "starting"
        self._episodes = self._solved = self._tokens = 0
        self._live: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            from rich.live import Live

            self._live = Live(self, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._now = ""
            self._live.stop()

    def __rich__(self) -> Any:
        """Return what stands on the terminal now."""
        from rich.console import Group

        shown: list[Any] = [table(_COLUMNS, self._rows)]
        return Group(*shown, self._figures()) if self._now else Group(*shown)

    def __call__(self, event: Event) -> None:
        """Take in one event; may be called from any thread."""
        with self._lock:
            kind = event["type"].removeprefix("agentevo.")
            if kind in _TELLING:
                getattr(self, f"_{kind}")(event["data"], event["iteration"])

    def _acted(self, data: dict[str, Any], number: int) -> None:
        del number
        self._tokens += data.get("input_tokens", 0) + data.get("output_tokens", 0)

    def _episode_finished(self, data: dict[str, Any], number: int) -> None:
        del number
        self._episodes += 1
        self._solved += bool(data.get("solved"))

    def _round_started(self, data: dict[str, Any], number: int) -> None:
        self._row = {"step": f"round {number} of {data['rounds']}: {data['ability']}"}
        self._say("practises")

    def _practised(self, data: dict[str, Any], number: int) -> None:
        del number
        self._row["practised"] = f"{data['solved']}/{data['attempts']} solved"
        self._say("reflects on its errors")

    def _memory_updated(self, data: dict[str, Any], number: int) -> None:
        del number
        counts = (f"{count} {name}" for name, count in data.items() if count)
        self._row["memory"] = ", ".join(counts) or "nothing new"
        self._say("is judged on held-out tasks")

    def _round_finished(self, data: dict[str, Any], number: int) -> None:
        del number
        self._row["rate"] = "-" if data["rate"] is None else f"{data['rate']:.0%}"
        self._close(data["decision"])

    def _distillation_started(self, data: dict[str, Any], number: int) -> None:
        del number
        self._row = {"step": f"distil {data['rules']} rules"}
        self._say("does what it can once more, to teach it")

    def _taught(self, data: dict[str, Any], number: int) -> None:
        del number
        self._row["practised"] = f"{data['solved']}/{data['attempts']} solved"
        self._say("prepares the distillation")

    def _distilling(self, data: dict[str, Any], number: int) -> None:
        del number
        self._now = f"distils: step {data['step']} of {data['steps']}"

    def _distillation_finished(self, data: dict[str, Any], number: int) -> None:
        del number
        self._say(f"adapter {data['adapter'] or 'none: ' + str(data['note'])} is judged")

    def _weights_judged(self, data: dict[str, Any], number: int) -> None:
        del number
        rate = data.get("rates", {}).get("candidate")
        self._row["rate"] = "-" if rate is None else f"{rate:.0%}"
        self._close(data["decision"])
        self._say("takes the exam, with all controls")

    def _say(self, now: str) -> None:
        self._now = now

    def _close(self, decision: str) -> None:
        names = ("step", "practised", "memory", "rate")
        row = [self._row.get(name, "") for name in names]
        seconds = f"{time.monotonic() - self._began:.0f}"
        self._rows.append((*row, decision, f"{self._tokens:,}", seconds))
        if self._live is None and not self._quiet:
            told = zip(_COLUMNS, self._rows[-1], strict=True)
            self._console.print(", ".join(f"{name} {cell}" for name, cell in told if cell))

    def _figures(self) -> str:
        rate = f"{self._solved / self._episodes:.0%}" if self._episodes else "-"
        seconds = time.monotonic() - self._began
        return (
            f" {self._now} ... {self._episodes:,} episodes, {rate} solved, "
            f"{self._tokens:,} tokens, {seconds:.0f} s"
        )
