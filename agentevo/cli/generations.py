"""`agentevo generations`: what was made, judged and served."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.output import JsonFlag, emit, table

if TYPE_CHECKING:
    from agentevo.generations import GenerationLog

app = typer.Typer(help="List generations, compare them, roll back.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="GENERATION", help="Id, tag, or served.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List all generations, oldest first.

    Example: agentevo generations list
    """
    log = _log(ctx)
    entries = [_summary(log, identifier) for identifier in log.ids()]
    rows = [
        (
            entry["id"] + (" *" if entry["served"] else ""),
            entry["parent"] or "-",
            entry["adapter_id"] or "base",
            entry["memory"]["seq"],
            entry["judgement"],
            ", ".join(entry["tags"]),
        )
        for entry in entries
    ]
    columns = ["generation (* served)", "parent", "adapter", "memory at", "judgement", "tags"]
    human = table(columns, rows) if rows else "no generations yet; `agentevo evolve` makes them"
    emit(ctx, {"generations": entries}, as_json=as_json, human=human)


@app.command()
def show(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show one generation with its evidence and everything that happened to it.

    Example: agentevo generations show served
    """
    log = _log(ctx)
    identifier = log.resolve(name)
    history = [asdict(entry) for entry in log.entries() if entry.generation_id == identifier]
    data = _summary(log, identifier) | {"history": history}
    rows = [(_date(entry["time"]), entry["kind"], str(dict(entry["content"]))) for entry in history]
    emit(ctx, data, as_json=as_json, human=table(["time", "event", "content"], rows, identifier))


@app.command()
def diff(
    ctx: typer.Context, first: NameArgument, second: NameArgument, as_json: JsonFlag = False
) -> None:
    """Show in what two generations differ.

    Example: agentevo generations diff champion served
    """
    log = _log(ctx)
    changes = log.get(first).differences(log.get(second))
    rows = [(name, str(old), str(new)) for name, (old, new) in changes.items()]
    human = table(["field", first, second], rows) if rows else "they are the same generation"
    emit(ctx, {"differences": changes}, as_json=as_json, human=human)


@app.command()
def tag(
    ctx: typer.Context,
    name: NameArgument,
    label: Annotated[str, typer.Argument(metavar="TAG", help="A name of your own.")],
    as_json: JsonFlag = False,
) -> None:
    """Give a generation a name.

    Example: agentevo generations tag served champion
    """
    entry = _log(ctx).tag(name, label)
    human = f"{entry.generation_id} is now {label!r}"
    emit(ctx, {"id": entry.generation_id, "tag": label}, as_json=as_json, human=human)


@app.command()
def verify(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Check that no entry of the log was changed or removed.

    Example: agentevo generations verify
    """
    log = _log(ctx)
    log.verify()
    human = f"{len(log.entries())} entries, none was changed"
    emit(ctx, {"entries": len(log.entries()), "intact": True}, as_json=as_json, human=human)


def _log(ctx: typer.Context) -> "GenerationLog":
    from agentevo.generations import GenerationLog

    return GenerationLog(settings_of(ctx).home / "generations.sqlite")


def _summary(log: "GenerationLog", identifier: str) -> dict[str, Any]:
    entries = [entry for entry in log.entries() if entry.generation_id == identifier]
    judged = [entry.kind for entry in entries if entry.kind in ("served", "refused")]
    return {
        "id": identifier,
        "parent": log.parent(identifier),
        **asdict(log.get(identifier)),
        "served": log.served_id == identifier,
        "judgement": judged[-1] if judged else "candidate",
        "tags": sorted({str(e.content["tag"]) for e in entries if e.kind == "tagged"}),
    }


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
