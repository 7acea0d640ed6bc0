"""`agentevo evolve`: let an agent improve itself, with live progress and an ending table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import SetOption, command_line, settings_of
from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, complain, emit, table
from agentevo.cli.watch import EvolutionWatch

if TYPE_CHECKING:
    from agentevo.evolution import EvolutionReport

app = typer.Typer()


@app.command()
def evolve(
    ctx: typer.Context,
    env: Annotated[str | None, typer.Option(help="Environment. Default: code.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="Task file of the environment.")] = None,
    split: Annotated[str | None, typer.Option(help="Task set to divide.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, such as seed or openai:NAME.")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Tasks, all parts together.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Name or TOML file; else proposed.")] = None,
    ability: Annotated[str | None, typer.Option(help="To get better at; else proposed.")] = None,
    target: Annotated[float, typer.Option(min=0, max=1, help="Score to reach.")] = 1.0,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds at most.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Episodes of learning.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="EVOLUTION", help="Continue this one (id, or last).")
    ] = None,
    distil: Annotated[
        str | None,
        typer.Option(metavar="EVOLUTION", help="Tell this one to distil after its present round."),
    ] = None,
    sets: SetOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let an agent improve itself: practise, reflect, judge, serve what is better.

    Ctrl-C lets the steps in progress finish; `agentevo evolve --resume last` then goes on.

    Example: agentevo evolve --env quirks --model seed --n 60 --recipe default
    """
    from agentevo.evolution import evolve as start
    from agentevo.evolution import resume_evolution
    from agentevo.evolution.parts import Parts
    from agentevo.objective import Objective

    overrides = {
        "env": {"name": env, "tasks": tasks, "split": split, "n": n, "seed": seed},
        "model": {"spec": model},
    }
    settings = settings_of(ctx, overrides, sets=sets)
    if distil is not None:
        _command(ctx, settings.home, distil, as_json=as_json)
        return
    aim = Objective(ability, target=target) if ability else None
    with EvolutionWatch(quiet=quiet) as watch:
        parts = Parts(on_event=watch)
        if resume is not None:
            report = resume_evolution(settings.home, resume, parts=parts)
        else:
            report = start(
                settings, objective=aim, recipe=recipe, rounds=rounds, budget=budget, parts=parts
            )
    emit(ctx, report.to_json(), as_json=as_json, human=ending(report))
    if report.status != "finished":
        goes_on = command_line(ctx, f"evolve --resume {report.id}")
        complain("stopped; all episodes are kept", goes_on)
        raise typer.Exit(ExitCode.STOPPED)


def _command(ctx: typer.Context, home: Path, name: str, *, as_json: bool) -> None:
    """Tell an evolution to distil."""
    from agentevo.evolution import command_distillation

    found = command_distillation(home, name)
    told = f"{found.id} will distil its rules after the present round"
    emit(ctx, {"id": found.id}, as_json=as_json, human=told)


def ending(report: "EvolutionReport") -> list[Any]:
    """Return what an evolution achieved, for people."""
    facts = [
        f"evolution {report.id}: {report.status}, {report.ended or 'not ended'}",
        f"autonomy {report.autonomy}; recipe {report.recipe['name']} "
        f"({report.decisions['recipe']}); objective {report.objective['ability']} "
        f"({report.decisions['objective']})",
    ]
    accepted = sum(entry["decision"] == "accepted" for entry in report.rounds)
    return [
        *facts,
        *([_arms(report), _comparisons(report)] if report.arms else []),
        f"{accepted} of {len(report.rounds)} rounds accepted, {len(report.rules)} rules served, "
        f"adapter {report.adapter or 'none'}, generation {report.generations.get('served')}",
        *report.notes,
    ]


def _arms(report: "EvolutionReport") -> Any:
    rows = [
        (
            arm.name,
            f"{arm.rate:.0%}",
            f"{arm.interval[0]:.0%} to {arm.interval[1]:.0%}",
            f"{arm.input_tokens:,}",
            f"{arm.output_tokens:,}",
            f"{arm.seconds:.1f}",
        )
        for arm in report.arms
    ]
    columns = ["arm", "success", "95 % interval", "tokens read", "written", "s"]
    title = f"{report.tasks.get('exam', 0)} exam tasks that nothing was learnt from"
    return table(columns, rows, title)


def _comparisons(report: "EvolutionReport") -> Any:
    rows = [
        (
            entry["arm"],
            entry["control"],
            f"{entry['difference']:+.0%}",
            f"{entry['p_value']:.3g}",
            "-" if entry["normalised_gain"] is None else f"{entry['normalised_gain']:.2f}",
            len(entry["harmed"]),
        )
        for entry in report.comparisons
    ]
    return table(["arm", "against", "difference", "paired p", "normalised gain", "worse"], rows)
