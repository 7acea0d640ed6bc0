"""What commands print: one JSON document with `--json`, otherwise text for people.

Results go to stdout, everything else to stderr. Nothing needs a terminal; `NO_COLOR` is honoured.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
"""The type of every command's `as_json` parameter."""

_STARTED = "agentevo.started"
# Piped text is not cut to the width of a terminal that is not there.
_PIPE_WIDTH = 200


def emit(
    ctx: typer.Context,
    data: Mapping[str, Any] | Any,
    *,
    as_json: bool,
    human: "RenderableType | Iterable[Any]" = "",
) -> None:
    """Print the result of a command, once, at its end.

    Args:
        ctx: The context of the command; gives its name and its duration.
        data: JSON values; a list belongs under a key. Records have an `id`.
        as_json: Whether `--json` was given.
        human: What people see instead: text, tables, or several of them.
    """
    if as_json:
        name = ctx.command_path.removeprefix(ctx.find_root().command_path).strip()
        print_json({"status": "ok", "command": name, "duration_s": duration_s(ctx), "data": data})
        return
    console = stdout_console()
    parts = [human] if isinstance(human, str) or not isinstance(human, Sequence) else human
    for part in parts:
        console.print(part)


def duration_s(ctx: typer.Context) -> float:
    """Return the seconds since the command line was read."""
    started: float = ctx.find_root().meta[_STARTED]
    return round(time.monotonic() - started, 3)


def start_clock(ctx: typer.Context) -> None:
    """Note when the command started; the root command calls it."""
    ctx.find_root().meta[_STARTED] = time.monotonic()


def stdout_console() -> "Console":
    """Return a console for results; brackets in the text are text, not markup."""
    return _console(stderr=False)


def stderr_console() -> "Console":
    """Return a console for progress and messages."""
    return _console(stderr=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> "Table":
    """Return a table of plain cells; long cells wrap, none is cut off. Empty names: no head."""
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD if any(columns) else None, show_header=any(columns), title=title or None
    )
    made.title_justify = "left"
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def error_envelope(
    command: str, duration: float, kind: str, message: str, hint: str
) -> dict[str, Any]:
    """Return the document of a failed command."""
    return {
        "status": "error",
        "command": command,
        "duration_s": round(duration, 3),
        "error": {"type": kind, "message": message, "hint": hint},
    }


def complain(message: str, hint: str = "") -> None:
    """Print an error and the next step on stderr."""
    console = stderr_console()
    console.print(f"error: {message}", style="red", soft_wrap=True)
    if hint:
        console.print(f"  next: {hint}", soft_wrap=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(
        stderr=stderr, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False
    )
