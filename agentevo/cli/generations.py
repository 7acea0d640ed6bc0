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
    """Show in what two generations differ, and which rules moved between prompt and weights.

    Example: agentevo generations diff champion served
    """
    from agentevo.evolution.rules import rules_of

    log, settings = _log(ctx), settings_of(ctx)
    one, two = log.get(first), log.get(second)
    changes = one.differences(two)
    rows = [(name, str(old), str(new)) for name, (old, new) in changes.items()]
    found = [rules_of(settings, generation) for generation in (one, two)]
    rules: dict[str, tuple[str, str]] = {}
    if found[0] is not None and found[1] is not None:
        known = sorted(found[0].keys() | found[1].keys())
        places = {text: (found[0].get(text, "-"), found[1].get(text, "-")) for text in known}
        rules = {text: both for text, both in places.items() if both[0] != both[1]}
    rows += [(f"rule: {text}", *both) for text, both in rules.items()]
    human = table(["field", first, second], rows) if rows else "they are the same generation"
    emit(ctx, {"differences": changes, "rules": rules}, as_json=as_json, human=human)


@app.command()
def rollback(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="GENERATION", help="Id or tag. Default: the one served before."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the base model is now. Default: where it was.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve a generation again, memory and weights together; forward as well as back.

    Example: agentevo generations rollback champion
    """
    from agentevo.evolution.restoring import restore_generation

    done = restore_generation(settings_of(ctx), name, spec=model)
    memory = done.memory
    human = [
        f"{done.id} is served instead of {done.previous}: adapter {done.adapter_id or 'none'}, "
        f"{len(memory.restored)} records restored, {len(memory.withdrawn)} withdrawn",
    ]
    if done.previous is not None:
        human.append(f"undo: agentevo generations rollback {done.previous}")
    data = {
        "id": done.id,
        "previous": done.previous,
        "adapter_id": done.adapter_id,
        "restored": list(memory.restored),
        "withdrawn": list(memory.withdrawn),
    }
    emit(ctx, data, as_json=as_json, human=human)


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
