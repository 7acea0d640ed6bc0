"""`agentevo memory why|diff|as-of`: where records come from, and what the memory knew."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agentevo.cli.memory_store import (
    IdArgument,
    PathOption,
    date_of,
    excerpt,
    open_journal,
    show_records,
    summary,
)
from agentevo.cli.output import JsonFlag, emit, table
from agentevo_memory.history import Lineage, changes, lineage, records_at


def add_history(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    app.command()(why)
    app.command()(diff)
    app.command("as-of")(as_of)


def why(
    ctx: typer.Context, record_id: IdArgument, path: PathOption = None, as_json: JsonFlag = False
) -> None:
    """Show what a record was derived from: the tree of its provenance.

    Example: agentevo memory why 01M7W4ZS6R3GF48AQPC57BDFYS
    """
    tree = lineage(open_journal(ctx, path), record_id)
    emit(ctx, _tree(tree), as_json=as_json, human="\n".join(_branches(tree, 0)))


def diff(
    ctx: typer.Context,
    operation: Annotated[
        int | None, typer.Argument(metavar="OPERATION", help="Number of an operation.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many operations.")] = 20,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List the latest operations, or show what one of them changed.

    Example: agentevo memory diff
    """
    journal = open_journal(ctx, path)
    if operation is None:
        rows = journal.query(
            "SELECT operation, min(time), op, actor, run_id, count(*) FROM event"
            " GROUP BY operation ORDER BY operation DESC LIMIT ?",
            (limit,),
        )
        names = ("id", "time", "op", "actor", "run_id", "events")
        data: dict[str, Any] = {"operations": [dict(zip(names, row, strict=True)) for row in rows]}
        cells = [(row[0], date_of(row[1]), *row[2:]) for row in rows]
        emit(ctx, data, as_json=as_json, human=table(names, cells))
        return
    found = [asdict(change) for change in changes(journal, operation=operation)]
    cells = [(c["record_id"], c["reason"], c["was"], c["now"]) for c in found]
    human = table(("record", "why", "before", "after"), cells)
    emit(ctx, {"id": operation, "changes": found}, as_json=as_json, human=human)


def as_of(
    ctx: typer.Context,
    moment: Annotated[str, typer.Argument(metavar="TIME", help="ISO time, or seconds since 1970.")],
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what the memory knew at an earlier time.

    Example: agentevo memory as-of 2026-11-20T09:00
    """
    show_records(ctx, records_at(open_journal(ctx, path), _seconds(moment)), as_json)


def _tree(node: Lineage) -> dict[str, Any]:
    parents = [_tree(parent) for parent in node.parents]
    return {**summary(node.record), "relation": node.relation, "parents": parents}


def _branches(node: Lineage, depth: int) -> list[str]:
    record = node.record
    origin = f"{record.provenance.origin}:{record.provenance.source}".rstrip(":")
    head = f"{'  ' * depth}{node.relation + ' ' if node.relation else ''}{record.id}"
    line = f"{head} [{record.kind}, {record.status}, trust {record.trust}, by {origin}]"
    lines = [line, f"{'  ' * depth}  {excerpt(record.text)}"]
    return lines + [text for parent in node.parents for text in _branches(parent, depth + 1)]


def _seconds(moment: str) -> float:
    try:
        return float(moment)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        raise typer.BadParameter(
            f"{moment!r} is no time; such as {datetime.now(UTC).isoformat(timespec='seconds')}"
        ) from None
    return found.timestamp()
