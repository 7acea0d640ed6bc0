"""`agentevo sandbox`: attack the sandboxes, and remove what dead processes left of them."""

from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, emit, stderr_console, table

if TYPE_CHECKING:
    from agentevo_environments.conformance.attacks import AttackResult

app = typer.Typer(help="Attack the sandboxes and clean up after them.", no_args_is_help=True)


@app.command()
def attack(
    ctx: typer.Context,
    backend: Annotated[str, typer.Option("--backend", help="Which sandbox.")] = "embedded",
    tier: Annotated[str, typer.Option("--tier", help="Tier of the embedded sandbox.")] = "",
    only: Annotated[list[str] | None, typer.Option("--only", help="Attack or class.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try every attack of the suite on a sandbox and show which are stopped.

    Exit code 1 when one is not stopped.

    Example: agentevo sandbox attack --backend docker
    """
    from agentevo_environments.conformance.attacks import ATTACKS, run_attack
    from agentevo_environments.errors import UnknownNameError
    from agentevo_environments.sandboxes import make_sandbox

    chosen = [one for one in ATTACKS if not only or {one.name, one.kind} & set(only)]
    if not chosen:
        names = sorted({one.kind for one in ATTACKS} | {one.name for one in ATTACKS})
        raise UnknownNameError(f"no attack {only!r}; there are: {', '.join(names)}")
    options: dict[str, Any] = {"tier": tier, "allow_unsafe": tier == "T4"} if tier else {}
    factory = partial(make_sandbox, backend, **options)
    with factory() as sandbox:
        containment = sandbox.containment
    console = stderr_console()
    results = []
    for number, one in enumerate(chosen, start=1):
        results.append(run_attack(one, factory))
        if not results[-1].stopped:
            console.print(f"{number}/{len(chosen)} {one.name}: {results[-1].detail}")
    stopped = sum(result.stopped for result in results)
    data = {
        "containment": asdict(containment),
        "stopped": stopped,
        "total": len(results),
        "attacks": [{"id": result.name, **asdict(result)} for result in results],
    }
    summary = (
        f"{containment.backend} {containment.tier}: {stopped} of {len(results)} attacks stopped"
    )
    emit(ctx, data, as_json=as_json, human=[_attack_table(results), summary])
    if stopped < len(results):
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def gc(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Remove sandbox containers whose owner is gone or whose time is over.

    Example: agentevo sandbox gc
    """
    from agentevo_environments.sandboxes.docker import gc as remove_stale

    removed = remove_stale()
    human = "\n".join([*removed, f"{len(removed)} containers removed"])
    emit(ctx, {"removed": [{"id": name} for name in removed]}, as_json=as_json, human=human)


def _attack_table(results: "list[AttackResult]") -> Any:
    totals = Counter(result.kind for result in results)
    rows = []
    for kind, total in totals.items():
        reached = [result for result in results if result.kind == kind and not result.stopped]
        rows.append((kind, f"{total - len(reached)}/{total}", ""))
        rows += [("", result.name, result.detail) for result in reached]
    return table(["class", "stopped", "reached"], rows)
