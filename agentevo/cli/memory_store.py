"""Finding the memory that a command means, and showing its records."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.output import emit, table
from agentevo_memory.journal import Journal
from agentevo_memory.record import Record

if TYPE_CHECKING:
    from agentevo_memory import VectorMemory

IdArgument = Annotated[str, typer.Argument(metavar="RECORD", help="Id of a record.")]
PathOption = Annotated[
    Path | None, typer.Option("--path", help="Folder of the memory; default from the settings.")
]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Labels joined by /; default all.")
]
_EXCERPT_CHARS = 200
_COLUMNS = ("id", "kind", "status", "trust", "helped", "harmed", "text")
EMBEDDER_VARIABLE = "AGENTEVO_EMBEDDER"
EmbedderOption = Annotated[
    str,
    typer.Option(
        envvar=EMBEDDER_VARIABLE,
        help="minilm-int8, minilm, hashing, or sentence-transformers:MODEL.",
    ),
]


def folder_of(ctx: typer.Context, path: Path | None) -> Path:
    """Return the folder of the memory: the option, else what the settings say."""
    if path is not None:
        return path
    settings = settings_of(ctx)
    return settings.memory.path or settings.home / "memory"


def open_journal(ctx: typer.Context, path: Path | None) -> Journal:
    """Return the journal for reading, closed at the end of the command."""
    journal = Journal(folder_of(ctx, path), read_only=True)
    ctx.call_on_close(journal.close)
    return journal


def open_store(
    ctx: typer.Context, path: Path | None, *, read_only: bool = False, embedder: str = ""
) -> "VectorMemory":
    """Return the memory, closed at the end of the command.

    Without a given embedder it is the one whose vectors the store holds.
    """
    from agentevo_memory import VectorMemory

    folder = folder_of(ctx, path)
    name = embedder or _embedder_of(folder)
    store = VectorMemory(folder, embedder=name, read_only=read_only)
    ctx.call_on_close(store.close)
    return store


def labels_of(journal: Journal, namespace: str | None) -> tuple[str, ...]:
    """Return the namespace that was asked for; empty for all.

    Raises:
        typer.BadParameter: If it holds no record; the message lists those that do.
    """
    if namespace is None:
        return ()
    labels = tuple(namespace.split("/"))
    known = journal.namespaces()
    if labels not in known:
        names = ", ".join("/".join(space) for space in known[:20]) or "none yet"
        raise typer.BadParameter(f"unknown namespace {namespace!r}; this memory has: {names}")
    return labels


def summary(record: Record) -> dict[str, Any]:
    """Return the fields of a record that a list shows."""
    return {
        "id": record.id,
        "kind": record.kind,
        "status": record.status,
        "namespace": "/".join(record.namespace),
        "environment": record.environment,
        "scope": record.scope,
        "trust": record.trust,
        "strength": round(record.strength, 3),
        "helped": record.helped,
        "harmed": record.harmed,
        "verified_by": record.verified_by,
        "text": record.text,
    }


def _embedder_of(folder: Path) -> str:
    from agentevo_memory.embedding.base import DEFAULT_EMBEDDER
    from agentevo_memory.journal import FILE_NAME

    if not (folder / FILE_NAME).is_file():
        return DEFAULT_EMBEDDER
    journal = Journal(folder, read_only=True)
    try:
        rows = journal.query("SELECT model FROM vector ORDER BY rid DESC LIMIT 1")
    finally:
        journal.close()
    model = rows[0][0] if rows else ""
    known = {
        "all-minilm-l6-v2-int8": "minilm-int8",
        "all-minilm-l6-v2-float32": "minilm",
        "hashing-256": "hashing",
    }
    return known.get(model, model or DEFAULT_EMBEDDER)


def show_records(ctx: typer.Context, records: Sequence[Record], as_json: bool) -> None:
    """Print records as a table or as JSON."""
    data = [summary(record) for record in records]
    rows = [[*(entry[name] for name in _COLUMNS[:-1]), excerpt(entry["text"])] for entry in data]
    human = table(_COLUMNS, rows) if rows else "no records"
    emit(ctx, {"records": data}, as_json=as_json, human=human)


def excerpt(text: str) -> str:
    """Return the beginning of a text on one line, for tables."""
    line = " ".join(text[: 4 * _EXCERPT_CHARS].split())
    return line if len(line) <= _EXCERPT_CHARS else line[: _EXCERPT_CHARS - 1] + "\u2026"


def date_of(time_s: float) -> str:
    """Return a time in seconds since the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
