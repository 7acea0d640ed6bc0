"""`agentevo memory`: look into the memory; what changes it and what looks back are in other modules."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.memory_changes import add_changes
from agentevo.cli.memory_history import add_history
from agentevo.cli.memory_store import (
    IdArgument,
    NamespaceOption,
    PathOption,
    date_of,
    excerpt,
    labels_of,
    open_journal,
    open_store,
    show_records,
)
from agentevo.cli.output import JsonFlag, emit, table
from agentevo_memory.acceptance import check_choice
from agentevo_memory.history import changes
from agentevo_memory.history import verify as verify_journal
from agentevo_memory.journal import Selection
from agentevo_memory.record import KINDS, STATUSES, Kind, Status

if TYPE_CHECKING:
    from agentevo_memory import Hit

app = typer.Typer(help="Look into the memory and change it.", no_args_is_help=True)

KindOption = Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; repeatable.")]


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
    show_records(ctx, journal.records(selection), as_json)


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
    if len(spaces) > 1:
        hits = sorted(hits, key=lambda hit: -hit.evidence)[:k]
    found = [describe(hit) for hit in hits]
    rows = [
        (
            hit.record.id,
            hit.record.kind,
            f"{hit.score:.3f}",
            ", ".join(f"{name} {value:.2f}" for name, value in hit.explain.items() if value),
            excerpt(hit.record.text),
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

    found = verify_journal(open_journal(ctx, path))
    if not found.intact:
        raise JournalDamagedError(
            f"{found.problem}; `agentevo memory export --salvage` saves the part before it",
            found.damaged_seq,
        )
    human = f"intact: {found.events} events, {found.erased} of them erased"
    emit(ctx, {**asdict(found), "intact": True}, as_json=as_json, human=human)


def _kinds(given: Sequence[str] | None) -> tuple[Kind, ...]:
    for kind in given or ():
        check_choice("kind", kind, KINDS)
    return tuple(kind for kind in KINDS if kind in (given or ()))


def _statuses(given: Sequence[str] | None) -> tuple[Status, ...]:
    for status in given or ():
        check_choice("status", status, STATUSES)
    return tuple(status for status in STATUSES if status in (given or ()))


def _past(change: dict[str, Any]) -> tuple[Any, ...]:
    return date_of(change["time"]), change["operation"], change["op"], change["reason"]


add_history(app)
add_changes(app)
