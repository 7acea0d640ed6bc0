"""`agentevo distill`: plan, run, resume and report distillations of memory into a LoRA adapter."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.distill_request import DistillRequest, TrackOption, offer, probe
from agentevo.cli.output import JsonFlag, emit, stderr_console, table
from agentevo.config import Settings

if TYPE_CHECKING:
    from agentevo.distillation.jobs import Job
    from agentevo.distillation.trainer import Progress

app = typer.Typer(help="Turn rules into a LoRA adapter.", no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a distillation, or last.")]


def _plan(ctx: typer.Context, request: DistillRequest, as_json: bool) -> None:
    """Show which rows a distillation would use and why others are left out; nothing is trained.

    Example: agentevo distill plan --run last
    """
    from agentevo.distillation.dataset import describe
    from agentevo.distillation.forecast import forecast

    expected = forecast(request.dataset.rows, request.distiller.train, request.distiller.model())
    train = expected.settings
    data = describe(request.dataset) | {
        "settings": asdict(train),
        "tokens": expected.tokens,
        "tokens_a_step": expected.tokens_a_step,
        "expected_s": round(expected.seconds, 1),
    }
    rows = [
        *((f"{kind} rows", count) for kind, count in data["rows"].items()),
        ("rules", len(data["rules"])),
        *((f"left out: {reason}", count) for reason, count in data["left_out"].items()),
        ("tokens", expected.tokens),
        ("steps", train.steps),
        ("tokens a step", expected.tokens_a_step),
        ("expected time", f"about {expected.seconds:.0f} s"),
    ]
    samples = [(kind, text) for kind, texts in data["samples"].items() for text in texts[:1]]
    human = [table(["", ""], rows), table(["kind", "first row"], samples)]
    emit(ctx, data, as_json=as_json, human=human)


def _run(ctx: typer.Context, request: DistillRequest, as_json: bool) -> None:
    """Distil the rules of some runs into a new adapter; it is registered, not served.

    Example: agentevo distill run --run last --steps 200
    """
    from agentevo.distillation.jobs import plan_job

    distiller = request.distiller
    job = plan_job(distiller.jobs, distiller.base, request.dataset, distiller.train)
    _carry_out(ctx, request.settings, job, track=request.track, as_json=as_json)


offer(app, "plan", _plan)
offer(app, "run", _run)


@app.command()
def resume(
    ctx: typer.Context, job: JobArgument, track: TrackOption = "", as_json: JsonFlag = False
) -> None:
    """Continue a distillation that was interrupted.

    Example: agentevo distill resume last
    """
    settings = settings_of(ctx)
    _carry_out(ctx, settings, _job(settings, job), track=track, as_json=as_json)


@app.command()
def status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List all distillations and how far each came.

    Example: agentevo distill status
    """
    from agentevo.distillation.jobs import list_jobs, open_job

    root = _root(settings_of(ctx))
    jobs = [open_job(root, name) for name in list_jobs(root)]
    data = [
        {
            "id": job.id,
            "status": job.status,
            "method": job.settings.method,
            "rules": len(job.rule_ids),
            "adapter_id": job.report().get("adapter_id"),
        }
        for job in jobs
    ]
    rows = [tuple(entry.values()) for entry in data]
    columns = ["distillation", "status", "method", "rules", "adapter"]
    human = table(columns, rows) if rows else "none yet; start one with `agentevo distill run`"
    emit(ctx, {"distillations": data}, as_json=as_json, human=human)


@app.command()
def report(
    ctx: typer.Context,
    job: JobArgument,
    held_out: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="A run of other tasks with rules; asks the probes."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw losses and probes into this PNG file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what a finished distillation measured, and what its adapter answers on other tasks.

    Example: agentevo distill report last --held-out 20261120-101500-ab12 --picture report.png
    """
    from agentevo.distillation.picture import draw_report

    settings = settings_of(ctx)
    found = _job(settings, job)
    data = {"id": found.id, "status": found.status, **found.report()}
    history, probes = data.get("history", []), {}
    if held_out:
        probes = data["probes"] = probe(settings, found, held_out)
    if picture is not None:
        draw_report(history, probes, picture)
    rows = [(name, str(value)) for name, value in data.items() if name not in ("history", "probes")]
    if history:
        rows += [(f"last loss of {k}", f"{v:.3f}") for k, v in history[-1]["losses"].items()]
    human = [table(["", ""], rows)]
    if probes:
        asked = [*probes["columns"].items(), *probes["scopes"].items()]
        shown = [(n, f"{s['base']:.1%}", f"{s['adapter']:.1%}", s["n"]) for n, s in asked]
        human.append(table(["probe", "base", "adapter", "asked"], shown))
    emit(ctx, data, as_json=as_json, human=human)


def _carry_out(
    ctx: typer.Context, settings: Settings, job: "Job", *, track: str, as_json: bool
) -> None:
    from agentevo.distillation.jobs import run_job
    from agentevo.distillation.registry import AdapterRegistry

    registry = AdapterRegistry(settings.home / "adapters")
    with ExitStack() as stack:
        told = [stack.enter_context(_progress(job.settings.steps or 0))]
        if track:
            from agentevo.distillation.tracking import track as follow

            told.append(stack.enter_context(follow(track, job.folder, job.id)))

        def on_step(step: "Progress") -> None:
            for tell in told:
                tell(step)

        adapter = run_job(job, registry, on_step=on_step)
    data = {"id": job.id, "adapter_id": adapter.id, **job.report()["metrics"]}
    human = [
        table(["", ""], [(name, str(value)) for name, value in data.items()]),
        f"next: agentevo adapters activate {adapter.id}",
    ]
    emit(ctx, data, as_json=as_json, human=human)


@contextmanager
def _progress(steps: int) -> "Iterator[Callable[[Progress], None]]":
    from rich.progress import Progress as Bar

    with Bar(console=stderr_console(), transient=True) as bar:
        task = bar.add_task("training", total=steps)

        def on_step(step: "Progress") -> None:
            losses = ", ".join(f"{kind} {loss:.2f}" for kind, loss in step.losses.items())
            bar.update(task, completed=step.step, description=losses)

        yield on_step


def _job(settings: Settings, name: str) -> "Job":
    from agentevo.distillation.jobs import list_jobs, open_job

    root = _root(settings)
    known = list_jobs(root)
    return open_job(root, known[-1] if name == "last" and known else name)


def _root(settings: Settings) -> Path:
    return settings.home / "distillations"
