"""`agentevo run` and `agentevo resume`: do tasks, show how far it is, print what came out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import (
    RunArgument,
    SetOption,
    command_line,
    resolve_run,
    settings_of,
)
from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, complain, emit, stderr_console, table
from agentevo.cli.progress import RunProgress
from agentevo.runs.report import RunReport

if TYPE_CHECKING:
    from agentevo.config import Settings

app = typer.Typer()

QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


@app.command()
def run(
    ctx: typer.Context,
    env: Annotated[str | None, typer.Option(help="Environment. Default: code.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="Task file of the environment.")] = None,
    split: Annotated[str | None, typer.Option(help="Task set, such as train or test.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model, such as scripted:oracle or openai:gpt-5-mini.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Number of tasks.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything drawn.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Episodes at a time.")] = None,
    sandbox: Annotated[str | None, typer.Option(help="Sandbox backend.")] = None,
    sets: SetOption = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Take all settings from an earlier run."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be run, run nothing.")
    ] = False,
    quiet: QuietFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Run an agent on the tasks of an environment.

    Ctrl-C lets the steps in progress finish; `agentevo resume` then goes on where it stopped.

    Example: agentevo run --env code --model scripted:oracle --n 3
    """
    overrides = {
        "env": {"name": env, "tasks": tasks, "split": split, "n": n, "seed": seed},
        "model": {"spec": model},
        "run": {"concurrency": concurrency},
        "sandbox": {"backend": sandbox},
    }
    file = None if source is None else _settings_file(ctx, source)
    settings = settings_of(ctx, overrides, sets=sets, file=file)
    if dry_run:
        _emit_plan(ctx, settings, as_json=as_json)
        return
    from agentevo.runtime import run as start

    _follow(ctx, lambda progress: start(settings, on_event=progress), quiet, as_json)


@app.command()
def resume(
    ctx: typer.Context, run_id: RunArgument, quiet: QuietFlag = False, as_json: JsonFlag = False
) -> None:
    """Continue a run that was stopped or killed; no finished episode is done again.

    Example: agentevo resume last
    """
    from agentevo.runtime import resume as go_on

    home = settings_of(ctx).home
    name = resolve_run(home, run_id)
    _follow(ctx, lambda progress: go_on(home, name, on_event=progress), quiet, as_json)


def _follow(
    ctx: typer.Context, work: Callable[[RunProgress], RunReport], quiet: bool, as_json: bool
) -> None:
    with RunProgress(quiet=quiet) as progress:
        report = work(progress)
    emit(ctx, report.to_json(), as_json=as_json, human=summary_table(report))
    _note_failures(report)
    if report.status != "finished":
        done = f"{len(report.episodes)} of {report.total} tasks are done and kept"
        complain(f"stopped; {done}", command_line(ctx, f"resume {report.id}"))
        raise typer.Exit(ExitCode.STOPPED)
    if report.episodes and all(_is_broken(episode) for episode in report.episodes):
        raise typer.Exit(ExitCode.FAILED)


def summary_table(report: RunReport) -> Any:
    """Return what a run achieved and what it cost, for people."""
    low, high = report.interval
    split = report.time_split()
    rows = [
        ("run", report.id),
        ("status", report.status),
        ("environment", report.environment),
        ("model", report.model),
        ("solved", f"{report.solved}/{report.total}"),
        ("success rate", f"{report.rate:.1%} (95 % interval {low:.1%} to {high:.1%})"),
        ("failed episodes", report.failed),
        ("tokens", f"{report.input_tokens:,} read, {report.output_tokens:,} written"),
        ("time", f"{report.seconds:.1f} s"),
        (
            "per graph step",
            f"{split['model_ms']:.2f} ms model, {split['environment_ms']:.2f} ms environment, "
            f"{split['overhead_ms']:.2f} ms beside",
        ),
        ("sandbox", _describe_sandbox(report)),
    ]
    return table(["", ""], rows)


def _describe_sandbox(report: RunReport) -> str:
    held = report.containment
    return f"{held['backend']}, tier {held['tier']}" if held else "none"


def _note_failures(report: RunReport) -> None:
    counts: dict[tuple[str, str], int] = {}
    for episode in report.episodes:
        if episode.failure is not None:
            key = (episode.failure.type, episode.failure.message.strip().split("\n")[0])
            counts[key] = counts.get(key, 0) + 1
    for (kind, message), count in sorted(counts.items(), key=lambda item: -item[1])[:3]:
        console = stderr_console()
        console.print(f"{count} x {kind} failure: {message}", soft_wrap=True)


def _is_broken(episode: Any) -> bool:
    return episode.failure is not None and episode.failure.type != "budget"


def _settings_file(ctx: typer.Context, name: str) -> Path:
    from agentevo.runs.directory import open_run

    home = settings_of(ctx).home
    return open_run(home, resolve_run(home, name)).config


def _emit_plan(ctx: typer.Context, settings: "Settings", *, as_json: bool) -> None:
    """Show what a run would do; the tasks are read and the model is looked up, nothing is run."""
    from agentevo.runtime import model_of, tasks_of

    model_of(settings)
    chosen = tasks_of(settings)
    data = {
        "dry_run": True,
        "tasks": len(chosen),
        "task_ids": [task.id for task in chosen],
        "settings": settings.model_dump(mode="json"),
    }
    human = [
        f"would run {len(chosen)} tasks of {settings.env.name!r} with {settings.model.spec!r}, "
        f"{settings.run.concurrency} at a time, in the sandbox {settings.sandbox.backend!r}",
        f"first tasks: {', '.join(task.id for task in chosen[:5])}",
    ]
    emit(ctx, data, as_json=as_json, human=human)
