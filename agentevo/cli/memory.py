"""`agentevo memory`: look into the memory; the commands that change it are in `memory_changes`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.memory_changes import add_changes
from agentevo.cli.memory_store import (
    NamespaceOption,
    PathOption,
    labels_of,
    open_journal,
    open_store,
    summary,
)
from agentevo.cli.output import JsonFlag, emit, table
from agentevo_memory.acceptance import check_choice
from agentevo_memory.history import Lineage, changes, lineage, records_at
from agentevo_memory.journal import Selection
from agentevo_memory.record import KINDS, STATUSES, Kind, Record, Status

if TYPE_CHECKING:
    from agentevo_memory import Hit

app = typer.Typer(help="Look into the memory and change it.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="RECORD", help="Id of a record.")]
KindOption = Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")]
_COLUMNS = ("id", "kind", "status", "trust", "helped", "harmed", "text")


@app.command("list")
def list_(
    ctx: typer.Context,
    namespace: NamespaceOption = None,
    kind: KindOption = None,
    status: Annotated[list[str] | None, typer.Option(help="Only this status; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List records, newest first.

    Example: agentevo memory list --kind rule --status active
    """
    journal = open_journal(ctx, path)
    selection = Selection(
        namespace=labels_of(journal, namespace),
        kinds=_kinds(kind),
        statuses=_statuses(status),
        limit=limit,
        newest=True,
    )
    _show_records(ctx, journal.records(selection), as_json)


@app.command()
def search(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    namespace: NamespaceOption = None,
    kind: KindOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="At most so many.")] = 10,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Search by words and meaning, and say why each record was found.

    Example: agentevo memory search "which port does the server use"
    """
    from agentevo_memory import Query
    from agentevo_memory.operations.search import describe

    store = open_store(ctx, path, read_only=True)
    spaces = [labels_of(store.journal, namespace)] if namespace else store.journal.namespaces()
    hits: list[Hit] = []
    for space in spaces:
        hits += store.search(Query(text=text, namespace=space, kinds=_kinds(kind), k=k)).hits
    hits = sorted(hits, key=lambda hit: -hit.score)[:k]
    found = [describe(hit) for hit in hits]
    rows = [
        (
            hit.record.id,
            hit.record.kind,
            f"{hit.score:.3f}",
            ", ".join(f"{name} {value:.2f}" for name, value in hit.explain.items() if value),
            hit.record.text,
        )
        for hit in hits
    ]
    human = table(("id", "kind", "score", "why", "text"), rows) if rows else "nothing found"
    emit(ctx, {"hits": found}, as_json=as_json, human=human)


@app.command()
def show(
    ctx: typer.Context, record_id: IdArgument, path: PathOption = None, as_json: JsonFlag = False
) -> None:
    """Show one record, its relations and its whole history.

    Example: agentevo memory show 01M7W4ZS6R3GF48AQPC57BDFYS
    """
    journal = open_journal(ctx, path)
    record = journal.get(record_id)
    past = [asdict(change) for change in changes(journal, record_id=record_id)]
    edges = [*journal.edges(record_id), *journal.edges(dst=record_id)]
    data = {**record.to_dict(), "edges": edges, "history": past}
    fields = [
        (name, value) for name, value in record.to_dict().items() if value not in ("", [], {})
    ]
    human = [
        table(("field", "value"), fields),
        table(("time", "operation", "what", "why"), [_past(change) for change in past]),
    ]
    emit(ctx, data, as_json=as_json, human=human)


@app.command()
def why(
    ctx: typer.Context, record_id: IdArgument, path: PathOption = None, as_json: JsonFlag = False
) -> None:
    """Show what a record was derived from: the tree of its provenance.

    Example: agentevo memory why 01M7W4ZS6R3GF48AQPC57BDFYS
    """
    tree = lineage(open_journal(ctx, path), record_id)
    emit(ctx, _tree(tree), as_json=as_json, human="\n".join(_branches(tree, 0)))


@app.command()
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
        cells = [(row[0], _date(row[1]), *row[2:]) for row in rows]
        emit(ctx, data, as_json=as_json, human=table(names, cells))
        return
    found = [asdict(change) for change in changes(journal, operation=operation)]
    cells = [(c["record_id"], c["reason"], c["was"], c["now"]) for c in found]
    human = table(("record", "why", "before", "after"), cells)
    emit(ctx, {"id": operation, "changes": found}, as_json=as_json, human=human)


@app.command("as-of")
def as_of(
    ctx: typer.Context,
    moment: Annotated[str, typer.Argument(metavar="TIME", help="ISO time, or seconds since 1970.")],
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what the memory knew at an earlier time.

    Example: agentevo memory as-of 2026-11-20T09:00
    """
    _show_records(ctx, records_at(open_journal(ctx, path), _seconds(moment)), as_json)


@app.command()
def stats(ctx: typer.Context, path: PathOption = None, as_json: JsonFlag = False) -> None:
    """Count records, operations and bytes.

    Example: agentevo memory stats
    """
    journal = open_journal(ctx, path)
    rows = journal.query(
        "SELECT replace(namespace, char(31), '/'), kind, status, count(*) FROM record"
        " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    )
    operations = dict(journal.query("SELECT op, count(DISTINCT operation) FROM event GROUP BY op"))
    models = dict(journal.query("SELECT model, count(*) FROM vector GROUP BY model"))
    size = sum(file.stat().st_size for file in journal.folder.rglob("*") if file.is_file())
    names = ("namespace", "kind", "status", "count")
    data = {
        "records": [dict(zip(names, row, strict=True)) for row in rows],
        "operations": operations,
        "vectors": models,
        "events": journal.head(),
        "bytes": size,
        "path": str(journal.folder),
    }
    notes = f"{journal.head()} events, {size} bytes, vectors {models}, operations {operations}"
    emit(ctx, data, as_json=as_json, human=[table(names, rows), notes])


@app.command("map")
def map_(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.")] = Path(
        "memory.png"
    ),
    namespace: NamespaceOption = None,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Draw the records as points of a plane: near points have near meanings.

    Example: agentevo memory map --out memory.png
    """
    from agentevo.cli.memory_map import draw

    journal = open_journal(ctx, path)
    count = draw(journal, labels_of(journal, namespace), out)
    data = {"path": str(out), "points": count}
    emit(ctx, data, as_json=as_json, human=f"{count} records drawn in {out}")


@app.command()
def verify(ctx: typer.Context, path: PathOption = None, as_json: JsonFlag = False) -> None:
    """Compare the whole journal with its hash chain; exit code 1 if it is damaged.

    Example: agentevo memory verify
    """
    from agentevo_memory.errors import JournalDamagedError

    found = open_journal(ctx, path).verify()
    if not found.intact:
        raise JournalDamagedError(
            f"{found.problem}; `agentevo memory export --salvage` saves the part before it",
            found.damaged_seq,
        )
    human = f"intact: {found.events} events, {found.erased} of them erased"
    emit(ctx, {**asdict(found), "intact": True}, as_json=as_json, human=human)


def _show_records(ctx: typer.Context, records: Sequence[Record], as_json: bool) -> None:
    data = [summary(record) for record in records]
    rows = [[entry[name] for name in _COLUMNS] for entry in data]
    human = table(_COLUMNS, rows) if rows else "no records"
    emit(ctx, {"records": data}, as_json=as_json, human=human)


def _kinds(given: Sequence[str] | None) -> tuple[Kind, ...]:
    for kind in given or ():
        check_choice("kind", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in (given or ()))


def _statuses(given: Sequence[str] | None) -> tuple[Status, ...]:
    for status in given or ():
        check_choice("status", status, STATUSES)
    return tuple(status for status in STATUSES if status in (given or ()))


def _tree(node: Lineage) -> dict[str, Any]:
    parents = [_tree(parent) for parent in node.parents]
    return {**summary(node.record), "relation": node.relation, "parents": parents}


def _branches(node: Lineage, depth: int) -> list[str]:
    record = node.record
    origin = f"{record.provenance.origin}:{record.provenance.source}".rstrip(":")
    head = f"{'  ' * depth}{node.relation + ' ' if node.relation else ''}{record.id}"
    line = f"{head} [{record.kind}, {record.status}, trust {record.trust}, by {origin}]"
    lines = [line, f"{'  ' * depth}  {' '.join(record.text.split())[:160]}"]
    return lines + [text for parent in node.parents for text in _branches(parent, depth + 1)]


def _past(change: dict[str, Any]) -> tuple[Any, ...]:
    return _date(change["time"]), change["operation"], change["op"], change["reason"]


def _date(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


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


add_changes(app)
