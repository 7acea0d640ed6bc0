"""`agentevo demo`: the main job on the embedded default, offline, on what ships."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import command_line, settings_of
from agentevo.cli.curve import bars
from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, complain, emit, table
from agentevo.cli.watch import EvolutionWatch

if TYPE_CHECKING:
    from agentevo.demo import Demo
    from agentevo.evolution import EvolutionReport

app = typer.Typer()


@app.command()
def demo(
    ctx: typer.Context,
    seed: Annotated[int, typer.Option(min=0, help="Which worlds; another seed, others.")] = 0,
    worlds: Annotated[int | None, typer.Option(min=1, help="How many worlds.")] = None,
    tasks_per_world: Annotated[
        int | None, typer.Option(min=8, help="Tasks in each: practice, gate and exam together.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or .toml file.")] = "demo",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let the seed model learn from its own errors: into memory, into weights, and back.

    It meets services whose documentation is wrong, with one attempt per task. Three rounds turn
    its errors into verified rules; then the rules move from the prompt into an adapter. Every
    change must win a paired test, and in the end everything is rolled back and forward again.

    Example: agentevo demo --seed 1
    """
    from agentevo.demo import TASKS_PER_WORLD, WORLDS, demo_settings, new_home, run_demo

    settings = demo_settings(
        new_home(settings_of(ctx).home),
        seed=seed,
        worlds=worlds or WORLDS,
        tasks_per_world=tasks_per_world or TASKS_PER_WORLD,
    )
    with EvolutionWatch(quiet=quiet) as watch:
        done = run_demo(settings, recipe=recipe, on_event=watch)
    emit(ctx, _data(done), as_json=as_json, human=_ending(ctx, done))
    if done.report.status != "finished":
        goes_on = command_line(ctx, f"evolve --resume {done.report.id}", home=settings.home)
        complain("stopped; all episodes are kept", goes_on)
        raise typer.Exit(ExitCode.STOPPED)


def _data(done: "Demo") -> dict[str, Any]:
    from dataclasses import asdict

    restoring = done.restoring
    return {
        **done.report.to_json(),
        "seconds": round(done.seconds, 1),
        "restoring": restoring and {**asdict(restoring), "exact": restoring.exact},
        "home": str(done.home),
        "folder": str(done.folder),
        "picture": str(done.picture),
        "page": str(done.page),
    }


def _ending(ctx: typer.Context, done: "Demo") -> list[Any]:
    """Return the curve, the arms and where everything lies, for people."""
    from agentevo.evolution.curve import curve

    report = done.report
    if report.status != "finished":
        return []
    more = command_line(ctx, "report last", home=done.home)
    points = [(point.label, point.rate) for point in curve(report)]
    return [
        f"success on {report.tasks['gate']} held-out tasks, after every step",
        *bars(points),
        _arms(done),
        *_findings(done),
        f"{done.seconds:.0f} s; picture {done.picture}",
        f"more: {more} (or memory list, generations list)",
    ]


def _arms(done: "Demo") -> Any:
    report = done.report
    best = report.arms[-1].name
    p_values = {
        entry["control"]: entry["p_value"] for entry in report.comparisons if entry["arm"] == best
    }
    rows = [
        (
            arm.name.replace("_", " "),
            f"{arm.rate:.0%}",
            f"{arm.interval[0]:.0%} to {arm.interval[1]:.0%}",
            f"{arm.input_tokens / max(1, len(arm.solved)):.0f}",
            f"{p_values[arm.name]:.1g}" if arm.name in p_values else "",
            arm.note,
        )
        for arm in report.arms
    ]
    columns = ["arm", "success", "95 % interval", "prompt tokens", "p", "what it is"]
    return table(columns, rows, f"exam: {report.tasks['exam']} tasks that nothing was learnt from")


def _findings(done: "Demo") -> list[str]:
    report, restoring = done.report, done.restoring
    said = [f"{len(report.rules)} verified rules, such as: {report.rules[0]}"] * bool(report.rules)
    said += [*_weights(report)]
    if restoring is not None:
        how = "bit by bit as before" if restoring.exact else "NOT as before"
        said.append(f"rolled back to {restoring.generations[0]} and forward again: {how}")
    return said


def _weights(report: "EvolutionReport") -> Iterator[str]:
    """Yield what the weights keep and save, and what the gate saw of the last adapter."""
    arms = {arm.name: arm for arm in report.arms}
    if "memory_weights" in arms:
        bare, told, held = (arms[name] for name in ("stateless", "memory", "memory_weights"))
        kept = (held.rate - bare.rate) / max(1e-9, told.rate - bare.rate)
        saved = 1 - held.input_tokens / max(1, told.input_tokens)
        yield f"in weights: {kept:.0%} of the gain, with {saved:.0%} fewer prompt tokens per task"
    if seen := report.elsewhere:
        yield (
            f"rules told in other worlds: {seen['adapter']:.1%} followed, {seen['base']:.1%} by the "
            f"base ({seen['questions']} questions; lost: {len(seen['lost'])}, 95 % interval up to "
            f"{seen['lost_interval'][1]:.1%})"
        )
    for judged in report.weights[-1:]:
        shown = ", ".join(
            f"{name} {entry['mean_difference']:+.2f} ({entry['pairs']})"
            for name, entry in judged["criteria"].items()
        )
        yield f"gate of the adapter, difference (pairs): {shown or judged['note']}"
