"""The commands of `agentevo memory` that change it: insert, reflect, forget, revoke, undo, transfer."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from agentevo.cli.holders import advice, holders_of
from agentevo.cli.memory_store import (
    EmbedderOption,
    NamespaceOption,
    PathOption,
    labels_of,
    open_journal,
    open_store,
)
from agentevo.cli.output import JsonFlag, emit, table

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")]
IdArguments = Annotated[list[str], typer.Argument(metavar="RECORD...", help="Ids of records.")]


def add_changes(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    for command in (insert, reflect, forget, revoke, promote, undo, export, reindex):
        app.command()(command)
    app.command("import")(import_)


def insert(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember; - reads stdin.")],
    kind: Annotated[str, typer.Option(help="fact, rule, skill, experience or summary.")] = "fact",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Labels joined by /.")
    ] = "default",
    key: Annotated[str, typer.Option(help="What it is about; replaces an older one.")] = "",
    scope: Annotated[str, typer.Option(help="Scope that it applies to.")] = "",
    environment: Annotated[str, typer.Option(help="Environment that it applies to.")] = "",
    embedder: EmbedderOption = "",
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Remember something.

    Example: agentevo memory insert "the server listens on port 8080"
    """
    from agentevo_memory.acceptance import check_choice
    from agentevo_memory.record import KINDS, Draft, Provenance

    check_choice("kind", kind, KINDS)
    draft = Draft(
        text=sys.stdin.read() if text == "-" else text,
        kind=next(each for each in KINDS if each == kind),
        namespace=tuple(namespace.split("/")),
        key=key,
        scope=scope,
        environment=environment,
        provenance=Provenance(origin="human", actor="command line"),
    )
    result = open_store(ctx, path, embedder=embedder).insert(draft)
    emit(
        ctx, asdict(result), as_json=as_json, human=f"{result.action} {result.id}: {result.reason}"
    )


def reflect(
    ctx: typer.Context,
    reflector: Annotated[str, typer.Option(help="errors, or MODULE:FUNCTION.")] = "errors",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Labels joined by /.")
    ] = "default",
    scope: Annotated[str, typer.Option(help="Only this scope.")] = "",
    dry_run: DryRun = False,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Turn experiences into candidate rules.

    Example: agentevo memory reflect --dry-run
    """
    from agentevo_memory.operations.material import Scope

    where = Scope(namespace=tuple(namespace.split("/")), scope=scope)
    done = open_store(ctx, path).reflect(
        _reflector(reflector), where, reflector_id=reflector, dry_run=dry_run
    )
    data = {**asdict(done), "diff": done.diff()}
    note = "these experiences were reflected on before" if done.repeated else "no change"
    emit(ctx, data, as_json=as_json, human=done.diff() or note)


def forget(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[RECORD]...")] = None,
    policy: Annotated[
        str, typer.Option(help="decay, ttl, fifo, lru, utility, capacity ...")
    ] = "ids",
    namespace: NamespaceOption = None,
    keep: Annotated[int, typer.Option(min=0, help="Records that may stay.")] = 1000,
    below: Annotated[float, typer.Option(min=0, max=1, help="Threshold.")] = 0.1,
    scope: Annotated[str, typer.Option(help="Only this scope.")] = "",
    environment: Annotated[str, typer.Option(help="Only this environment.")] = "",
    erase: Annotated[bool, typer.Option(help="Remove the given records for good.")] = False,
    dry_run: DryRun = False,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let records go dormant by a policy, or remove given ones for good with --erase.

    Example: agentevo memory forget --policy decay --dry-run
    """
    from agentevo_memory.acceptance import check_choice
    from agentevo_memory.operations.forget import POLICIES, Policy

    store = open_store(ctx, path)
    if policy == "ids" and not ids:
        raise typer.BadParameter("give ids of records, or a --policy")
    if erase:
        receipt = store.erase(ids or [], actor="command line", dry_run=dry_run)
        holders = holders_of(ctx, (*receipt.ids, *receipt.derived))
        human = f"{'would erase' if dry_run else 'erased'} {[*receipt.ids, *receipt.derived]}"
        told = [human, advice(holders)] if holders else human
        emit(ctx, {**asdict(receipt), "holders": holders}, as_json=as_json, human=told)
        return
    check_choice("policy", policy, POLICIES)
    chosen = Policy(
        name=next(name for name in POLICIES if name == policy),
        keep=keep,
        below=below,
        scope=scope,
        environment=environment,
        ids=tuple(ids or ()),
    )
    done = store.forget(chosen, namespace=labels_of(store.journal, namespace), dry_run=dry_run)
    holders = holders_of(ctx, [entry[0] for entry in done.forgotten])
    shown = table(("record", "why"), done.forgotten)
    lines = [shown, advice(holders)] if holders else shown
    emit(ctx, {**asdict(done), "holders": holders}, as_json=as_json, human=lines)


def revoke(
    ctx: typer.Context,
    origin: Annotated[str, typer.Option(help="Such as tool or tool:NAME.")] = "",
    run: Annotated[str, typer.Option(help="Id of a run.")] = "",
    record: Annotated[str, typer.Option(help="Id of a record.")] = "",
    dry_run: DryRun = False,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Quarantine everything that comes from an origin, a run or a record.

    Example: agentevo memory revoke --origin tool:browser --dry-run
    """
    from agentevo_memory import Taint

    given = [taint for taint in (("origin", origin), ("run", run), ("record", record)) if taint[1]]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --origin, --run, --record")
    kinds: dict[str, Any] = {"origin": "origin", "run": "run", "record": "record"}
    taint = Taint(kinds[given[0][0]], given[0][1])
    done = open_store(ctx, path).revoke(taint, dry_run=dry_run)
    holders = holders_of(ctx, (*done.quarantined, *done.already))
    human = f"quarantined {len(done.quarantined)}, out of use before {len(done.already)}"
    told = [human, advice(holders)] if holders else human
    emit(ctx, {**asdict(done), "holders": holders}, as_json=as_json, human=told)


def promote(
    ctx: typer.Context,
    record_id: Annotated[str, typer.Argument(metavar="RECORD", help="Id of a candidate.")],
    evidence: Annotated[str, typer.Option(help="Why it may instruct.")] = "",
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a candidate or quarantined record active, on your own responsibility.

    Example: agentevo memory promote 01M7W4ZS6R3GF48AQPC57BDFYS
    """
    store = open_store(ctx, path)
    record = store.promote(record_id, verifier="person:command line", evidence=evidence)
    emit(ctx, record.to_dict(), as_json=as_json, human=f"{record.id} is active")


def undo(
    ctx: typer.Context,
    operation: Annotated[int, typer.Argument(metavar="OPERATION", help="From `memory diff`.")],
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back one operation; not an erasure.

    Example: agentevo memory undo 12
    """
    done = open_store(ctx, path).undo(operation)
    human = f"restored {len(done.restored)}, withdrew {len(done.withdrawn)}"
    emit(ctx, {"id": done.operation, **asdict(done)}, as_json=as_json, human=human)


def export(
    ctx: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; default stdout.")] = None,
    markdown: Annotated[bool, typer.Option(help="Markdown instead of JSONL.")] = False,
    salvage: Annotated[bool, typer.Option(help="The intact part of a damaged journal.")] = False,
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write all records as JSONL or Markdown, without loss.

    Example: agentevo memory export --out memory.jsonl
    """
    from agentevo_memory.transfer import export_lines, export_markdown, salvage_lines

    journal = open_journal(ctx, path)
    write = salvage_lines if salvage else export_markdown if markdown else export_lines
    text = "".join(f"{line}\n" for line in write(journal))
    if out is None and not as_json:
        sys.stdout.write(text)
        return
    if out is not None:
        out.write_text(text, encoding="utf-8")
    data = {"path": str(out) if out else None, "lines": text.count("\n")}
    emit(ctx, data | ({} if out else {"text": text}), as_json=as_json, human=f"written to {out}")


def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A JSONL or Markdown export.")],
    trusted: Annotated[bool, typer.Option(help="Take over trust: it is your own export.")] = False,
    embedder: EmbedderOption = "",
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Read an export; without --trusted nothing in it may instruct.

    Example: agentevo memory import memory.jsonl --trusted
    """
    if not file.is_file():
        raise typer.BadParameter(f"{str(file)!r} is no file")
    store = open_store(ctx, path, embedder=embedder)
    done = store.import_lines(file.read_text(encoding="utf-8").split("\n"), trusted=trusted)
    human = f"{done.added} added, {done.present} were here already"
    emit(ctx, asdict(done), as_json=as_json, human=human)


def reindex(
    ctx: typer.Context,
    embedder: EmbedderOption = "",
    path: PathOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Build every index again from the journal; with --embedder, embed everything anew.

    Example: agentevo memory reindex
    """
    done = open_store(ctx, path, embedder=embedder).reindex(_report)
    emit(ctx, {"embedded": done}, as_json=as_json, human=f"rebuilt; {done} texts embedded")


def _report(done: int, total: int) -> None:
    from agentevo.cli.output import stderr_console

    stderr_console().print(f"embedded {done} of {total}")


def _reflector(name: str) -> Any:
    from importlib import import_module

    from agentevo_memory.reflectors import reflect_on_errors

    if name == "errors":
        return reflect_on_errors
    module, _, function = name.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(
            f"no reflector {name!r} ({error}); allowed: errors, or MODULE:FUNCTION"
        ) from None
