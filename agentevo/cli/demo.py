"""`agentevo demo`: the main job on the embedded default, offline, on what ships."""

from typing import TYPE_CHECKING

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.output import JsonFlag, emit, table
from agentevo.cli.progress import RunProgress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agentevo.runs.report import RunReport

app = typer.Typer()

_MODELS = {
    "scripted:oracle": "known solutions: shows that tasks, sandbox and grading are sound",
    "scripted:wrong": "the same solutions, each mutated: shows that grading can fail",
}


@app.command()
def demo(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Run the shipped code tasks in the sandbox, with right and with mutated solutions.

    Example: agentevo demo
    """
    reports = {model: _run(ctx, model) for model in _MODELS}
    rows = [
        (
            model,
            f"{report.solved}/{report.total}",
            f"{report.total / report.seconds:.0f}",
            what,
        )
        for (model, report), what in zip(reports.items(), _MODELS.values(), strict=True)
    ]
    held = reports["scripted:oracle"].containment or {}
    human: list[RenderableType] = [
        table(["model", "solved", "tasks/s", "what it shows"], rows),
        f"sandbox: {held.get('backend')}, tier {held.get('tier')}, holds back "
        + ", ".join(held.get("contains", ())),
        f"look into it: agentevo runs show {reports['scripted:wrong'].id}",
    ]
    data = {"runs": [report.summary() for report in reports.values()]}
    emit(ctx, data, as_json=as_json, human=human)


def _run(ctx: typer.Context, model: str) -> "RunReport":
    from agentevo.runtime import run

    settings = settings_of(ctx, {"env": {"name": "code"}, "model": {"spec": model}})
    with RunProgress() as progress:
        return run(settings, on_event=progress)
