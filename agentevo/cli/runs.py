"""`agentevo runs`: list runs, look into one, replay what an episode did."""

import difflib
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import RunArgument, resolve_run, settings_of
from agentevo.cli.output import JsonFlag, emit, table
from agentevo.errors import UnknownRunError
from agentevo.events import Event
from agentevo.runs.report import EpisodeResult, RunReport

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="List runs and look into them.", no_args_is_help=True)


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List all runs, the newest first.

    Example: agentevo runs list
    """
    from agentevo.runtime import list_runs

    reports = list_runs(settings_of(ctx).home)
    rows = [
        (
            report.id,
            report.status,
            report.environment,
            report.model,
            f"{report.solved}/{report.total}",
            f"{report.rate:.0%}",
            _date(report.started_at),
        )
        for report in reports
    ]
    columns = ["run", "status", "environment", "model", "solved", "rate", "started"]
    human = table(columns, rows) if rows else "no runs yet; start one with `agentevo run`"
    emit(ctx, {"runs": [report.summary() for report in reports]}, as_json=as_json, human=human)


@app.command()
def show(
    ctx: typer.Context,
    run_id: RunArgument,
    episode: Annotated[
        str | None, typer.Option(help="Task id or episode id: show what the agent did, in order.")
    ] = None,
    unsolved: Annotated[bool, typer.Option("--unsolved", help="List only what failed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a run achieved, all its episodes, or one of them step by step.

    Example: agentevo runs show last --episode HumanEval/0
    """
    from agentevo.runs.directory import open_run
    from agentevo.runs.event_log import read_events
    from agentevo.runtime import load_report

    home = settings_of(ctx).home
    name = resolve_run(home, run_id)
    report = load_report(home, name)
    if episode is not None:
        result = _find_episode(report, episode)
        log = read_events(open_run(home, name).events)
        events = [event for event in log if event["episode_id"] == result.episode_id]
        data = {"id": result.episode_id, "episode": result.to_json(), "events": events}
        emit(ctx, data, as_json=as_json, human=_story(result, events))
        return
    from agentevo.cli.run import summary_table

    shown = [entry for entry in report.episodes if not (unsolved and entry.solved)]
    data = {**report.summary(), "episodes": [entry.to_json() for entry in shown]}
    emit(ctx, data, as_json=as_json, human=[summary_table(report), _episode_table(shown)])


def _episode_table(episodes: Sequence[EpisodeResult]) -> "Table":
    rows = [
        (
            entry.task_id,
            "yes" if entry.solved else "no",
            f"{entry.score:.2f}",
            entry.actions,
            entry.input_tokens + entry.output_tokens,
            f"{entry.seconds:.2f}",
            entry.failure.message.split("\n")[0] if entry.failure else entry.detail,
        )
        for entry in episodes
    ]
    return table(["task", "solved", "score", "actions", "tokens", "s", "detail"], rows)


def _find_episode(report: RunReport, name: str) -> EpisodeResult:
    for entry in report.episodes:
        if name in (entry.episode_id, entry.task_id):
            return entry
    names = [entry.task_id for entry in report.episodes]
    near = difflib.get_close_matches(name, names, n=3) or names[:3]
    listed = ", ".join(map(repr, near)) if near else "none is finished yet"
    raise UnknownRunError(
        f"run {report.id!r} has no finished episode {name!r}; there are {len(names)}, "
        f"such as: {listed}"
    )


def _story(result: EpisodeResult, events: Sequence[Event]) -> list[str]:
    parts = [f"{result.episode_id}: {'solved' if result.solved else 'not solved'}, {result.detail}"]
    if result.failure is not None:
        parts.append(f"{result.failure.type} failure: {result.failure.message}")
    return parts + [text for event in events if (text := _tell(event))]


def _tell(event: Event) -> str:
    data = event["data"]
    match event["type"].removeprefix("agentevo."):
        case "acted":
            calls = [f"-> {call['tool']} {_arguments(call['arguments'])}" for call in data["calls"]]
            return "\n".join(["", *filter(None, [data["text"].strip()]), *calls])
        case "executed":
            marks = ("!" if result["error"] else "=" for result in data["results"])
            texts = (result["text"].rstrip() for result in data["results"])
            return "\n".join(f"{mark} {text}" for mark, text in zip(marks, texts, strict=True))
    return ""


def _arguments(arguments: Mapping[str, Any]) -> str:
    """Return arguments as people read them: a single text as it is, else JSON."""
    values = list(arguments.values())
    if len(values) == 1 and isinstance(values[0], str):
        return values[0] if "\n" not in values[0] else "\n" + values[0]
    return json.dumps(dict(arguments), ensure_ascii=False)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
