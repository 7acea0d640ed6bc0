"""`agentevo adapters`: the LoRA adapters that were made, and which one is served."""

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.output import JsonFlag, emit, table

if TYPE_CHECKING:
    from agentevo.distillation.registry import Activation, Adapter, AdapterRegistry

app = typer.Typer(help="List and check LoRA adapters.", no_args_is_help=True)
AdapterArgument = Annotated[str, typer.Argument(metavar="ADAPTER", help="Id, or its beginning.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List all adapters, oldest first.

    Example: agentevo adapters list
    """
    registry = _registry(ctx)
    adapters = [_summary(registry.get(identifier)) for identifier in registry.ids()]
    active = registry.active_id
    rows = [
        (
            entry["id"] + (" *" if entry["id"] == active else ""),
            entry["method"],
            len(entry["rule_ids"]),
            entry["base_sha256"][:12],
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["created"])),
        )
        for entry in adapters
    ]
    columns = ["adapter (* active)", "method", "rules", "base", "created"]
    human = table(columns, rows) if rows else "no adapters yet; `agentevo distill run` makes one"
    emit(ctx, {"adapters": adapters, "active": active}, as_json=as_json, human=human)


@app.command()
def show(ctx: typer.Context, adapter: AdapterArgument, as_json: JsonFlag = False) -> None:
    """Show an adapter's manifest: base, rules, rows, settings, measurements.

    Example: agentevo adapters show 3f2a
    """
    entry = _summary(_registry(ctx).get(adapter))
    rows = [(name, str(value)) for name, value in entry.items()]
    emit(ctx, entry, as_json=as_json, human=table(["field", "value"], rows))


@app.command()
def diff(
    ctx: typer.Context, first: AdapterArgument, second: AdapterArgument, as_json: JsonFlag = False
) -> None:
    """Show which rules, rows and settings two adapters do not share.

    Example: agentevo adapters diff 3f2a 77aa
    """
    registry = _registry(ctx)
    one, two = registry.get(first), registry.get(second)
    data: dict[str, Any] = {
        "rules": _sides(one.manifest.rule_ids, two.manifest.rule_ids),
        "rows": _sides(_row_ids(one), _row_ids(two)),
        "settings": {
            name: [one.manifest.settings.get(name), two.manifest.settings.get(name)]
            for name in sorted(one.manifest.settings.keys() | two.manifest.settings.keys())
            if one.manifest.settings.get(name) != two.manifest.settings.get(name)
        },
    }
    rows = [
        *(
            (name, len(data[name]["only_first"]), len(data[name]["only_second"]))
            for name in ("rules", "rows")
        ),
        *((name, *values) for name, values in data["settings"].items()),
    ]
    emit(ctx, data, as_json=as_json, human=table(["what", one.id, two.id], rows))


@app.command()
def activate(
    ctx: typer.Context,
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="Id, or base for none.")],
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "by hand",
    as_json: JsonFlag = False,
) -> None:
    """Serve an adapter, or the bare base model, after checking its file.

    Example: agentevo adapters activate 3f2a --reason "passed the gate"
    """
    registry = _registry(ctx)
    entry = registry.activate(None if adapter == "base" else registry.get(adapter).id, reason)
    _served(ctx, registry, entry, as_json=as_json)


@app.command()
def rollback(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Serve what was served before the active adapter.

    Example: agentevo adapters rollback
    """
    registry = _registry(ctx)
    _served(ctx, registry, registry.rollback(), as_json=as_json)


@app.command()
def merge(
    ctx: typer.Context,
    parts: Annotated[list[str], typer.Argument(metavar="ADAPTER[=WEIGHT]...")],
    base: Annotated[Path, typer.Option(help="The base model of all of them.")],
    combination: Annotated[str, typer.Option(help="linear, cat, svd, ties, dare_*.")] = "linear",
    density: Annotated[float, typer.Option(min=0.01, max=1.0, help="For ties and dare.")] = 0.5,
    as_json: JsonFlag = False,
) -> None:
    """Make a new adapter of others, with its own manifest; it is not activated.

    Example: agentevo adapters merge 3f2a=0.5 77aa=0.5 --base model.gguf
    """
    from agentevo.distillation.base_model import load_base
    from agentevo.distillation.merge import merge_adapters
    from agentevo.distillation.publish import Origin, publish
    from agentevo.distillation.rows import read_rows

    registry = _registry(ctx)
    weighted = [_part(registry, part) for part in parts]
    loaded = load_base(base)
    model = merge_adapters(loaded, weighted, combination, density=density)  # type: ignore[arg-type]
    manifests = [adapter.manifest for adapter, _ in weighted]
    origin = Origin(
        method="merge",
        rule_ids=tuple(sorted({name for m in manifests for name in m.rule_ids})),
        record_ids=tuple(sorted({name for m in manifests for name in m.record_ids})),
        parents=tuple(manifest.id for manifest in manifests),
        settings={
            "combination": combination,
            "density": density,
            "weights": [weight for _, weight in weighted],
        },
    )
    rows = read_rows(weighted[0][0].folder / "rows.jsonl")
    made = publish(model, loaded, registry, origin, rows)
    emit(ctx, _summary(made), as_json=as_json, human=f"registered {made.id}; activate it by hand")


@app.command()
def export(
    ctx: typer.Context,
    adapter: AdapterArgument,
    to: Annotated[Path, typer.Argument(help="A new folder.")],
    as_json: JsonFlag = False,
) -> None:
    """Copy an adapter's files: GGUF for llama.cpp, peft/ for transformers and vLLM, its rows.

    Example: agentevo adapters export 3f2a ./my-adapter
    """
    found = _registry(ctx).get(adapter)
    shutil.copytree(found.folder, to)
    emit(ctx, {"id": found.id, "path": str(to)}, as_json=as_json, human=f"wrote {to}")


@app.command()
def gc(
    ctx: typer.Context,
    keep: Annotated[int, typer.Option(min=0, help="Newest adapters to keep.")] = 5,
    as_json: JsonFlag = False,
) -> None:
    """Delete adapters that are not active, not parents, and not among the newest.

    Example: agentevo adapters gc --keep 3
    """
    removed = _registry(ctx).collect_garbage(keep)
    emit(ctx, {"removed": list(removed)}, as_json=as_json, human=f"removed {len(removed)} adapters")


def _served(
    ctx: typer.Context, registry: "AdapterRegistry", entry: "Activation", *, as_json: bool
) -> None:
    """Move the rules between prompt and weights, and tell what is served now."""
    data: dict[str, Any] = {"id": entry.adapter_id, "reason": entry.reason}
    human = [f"active: {entry.adapter_id or 'base'}"]
    settings = settings_of(ctx)
    if (settings.memory.path or settings.home / "memory").is_dir():
        from agentevo.cli.memory_store import open_store
        from agentevo.updating.in_weight import reconcile

        shift = reconcile(open_store(ctx, None), registry)
        data |= asdict(shift)
        human.append(
            f"rules: {len(shift.into_weights)} into the weights, {len(shift.into_prompt)} back into "
            f"the prompt; the weights save {shift.tokens_saved} tokens of rules"
        )
    emit(ctx, data, as_json=as_json, human=human)


def _registry(ctx: typer.Context) -> "AdapterRegistry":
    from agentevo.distillation.registry import AdapterRegistry

    return AdapterRegistry(settings_of(ctx).home / "adapters")


def _summary(adapter: "Adapter") -> dict[str, Any]:
    return {"id": adapter.id, **asdict(adapter.manifest), "path": str(adapter.gguf)}


def _row_ids(adapter: "Adapter") -> list[str]:
    from agentevo.distillation.rows import read_rows

    return [row.id for row in read_rows(adapter.folder / "rows.jsonl")]


def _sides(first: Any, second: Any) -> dict[str, list[str]]:
    one, two = set(first), set(second)
    return {"only_first": sorted(one - two), "only_second": sorted(two - one)}


def _part(registry: "AdapterRegistry", text: str) -> tuple["Adapter", float]:
    name, _, weight = text.partition("=")
    adapter = registry.get(name)
    try:
        return adapter, float(weight or 1.0)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: give ADAPTER or ADAPTER=WEIGHT") from error
