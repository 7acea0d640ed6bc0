"""`agentevo distill`: plan, run, resume and report distillations of memory into a LoRA adapter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import SetOption, resolve_run, settings_of
from agentevo.cli.output import JsonFlag, emit, stderr_console, table
from agentevo.config import Settings
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from agentevo.distillation.dataset import Dataset, Practice
    from agentevo.distillation.jobs import Job
    from agentevo.distillation.settings import TrainSettings
    from agentevo.distillation.trainer import Progress

app = typer.Typer(help="Turn rules into a LoRA adapter.", no_args_is_help=True)

RunsOption = Annotated[
    list[str], typer.Option("--run", metavar="RUN", help="A run with memory; repeat for more.")
]
BaseOption = Annotated[
    Path | None, typer.Option(help="Base model; default: the model that the run used.")
]
FreshOption = Annotated[
    list[str] | None,
    typer.Option("--fresh", metavar="NAME", help="A scope name that nothing uses; for replay."),
]
MethodOption = Annotated[str, typer.Option(help="context, sft, on_policy or dpo.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Training steps.")]
ReplayFlag = Annotated[
    bool, typer.Option("--replay/--no-replay", help="Train what must not change as well.")
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of a distillation, or last.")]
_FRESH_TASKS = 400


@app.command()
def plan(
    ctx: typer.Context,
    runs: RunsOption,
    base: BaseOption = None,
    fresh: FreshOption = None,
    method: MethodOption = "context",
    steps: StepsOption = None,
    replay: ReplayFlag = True,
    sets: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show which rows a distillation would use and why others are left out; nothing is trained.

    Example: agentevo distill plan --run last
    """
    from agentevo.distillation.dataset import describe

    settings = settings_of(ctx, sets=sets)
    dataset = _dataset(settings, runs, base, fresh if replay else [])
    train = _train_settings(method, steps, replay)
    data = describe(dataset) | {"settings": {"method": train.method, "steps": train.steps}}
    rows = [
        *((f"{kind} rows", count) for kind, count in data["rows"].items()),
        ("rules", len(data["rules"])),
        *((f"left out: {reason}", count) for reason, count in data["left_out"].items()),
        ("steps", train.steps),
        ("rows a step", sum(n for kind, n in train.mix.items() if data["rows"].get(kind))),
    ]
    samples = [(kind, text) for kind, texts in data["samples"].items() for text in texts[:1]]
    human = [table(["", ""], rows), table(["kind", "first row"], samples)]
    emit(ctx, data, as_json=as_json, human=human)


@app.command()
def run(
    ctx: typer.Context,
    runs: RunsOption,
    base: BaseOption = None,
    fresh: FreshOption = None,
    method: MethodOption = "context",
    steps: StepsOption = None,
    replay: ReplayFlag = True,
    sets: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Distil the rules of some runs into a new adapter; it is registered, not served.

    Example: agentevo distill run --run last --steps 200
    """
    from agentevo.distillation.jobs import plan_job

    settings = settings_of(ctx, sets=sets)
    dataset = _dataset(settings, runs, base, fresh if replay else [])
    file = base or _base_of(_run_settings(settings, runs[0]))
    job = plan_job(_root(settings), file, dataset, _train_settings(method, steps, replay))
    _carry_out(ctx, settings, job, as_json=as_json)


@app.command()
def resume(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Continue a distillation that was interrupted.

    Example: agentevo distill resume last
    """
    settings = settings_of(ctx)
    _carry_out(ctx, settings, _job(settings, job), as_json=as_json)


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
    picture: Annotated[
        Path | None, typer.Option(help="Draw the losses by row kind into this PNG file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what a finished distillation measured.

    Example: agentevo distill report last --picture losses.png
    """
    found = _job(settings_of(ctx), job)
    data = {"id": found.id, "status": found.status, **found.report()}
    history = data.get("history", [])
    if picture is not None:
        from agentevo.distillation.picture import draw_losses

        draw_losses(history, picture)
    rows = [(name, str(value)) for name, value in data.items() if name != "history"]
    if history:
        rows += [(f"last loss of {k}", f"{v:.3f}") for k, v in history[-1]["losses"].items()]
    emit(ctx, data, as_json=as_json, human=table(["", ""], rows))


def _carry_out(ctx: typer.Context, settings: Settings, job: "Job", *, as_json: bool) -> None:
    from agentevo.distillation.jobs import run_job
    from agentevo.distillation.registry import AdapterRegistry

    registry = AdapterRegistry(settings.home / "adapters")
    with _progress(job.settings.steps) as on_step:
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


def _dataset(
    settings: Settings, runs: Sequence[str], base: Path | None, fresh: Sequence[str] | None
) -> "Dataset":
    """Return the rows that the runs give; without fresh names there is nothing but targets."""
    from agentevo.distillation.counterfactuals import counterfactual_probes
    from agentevo.distillation.dataset import build_dataset
    from agentevo.distillation.practice import answer_of, practice_of
    from agentevo.models.llama.chat import ChatLlamaEngine
    from agentevo.runs.directory import open_run

    first = _run_settings(settings, runs[0])
    names = [resolve_run(settings.home, name) for name in runs]
    checkpoints = [open_run(settings.home, name).checkpoints for name in names]
    practice = list(practice_of(checkpoints, _setting(first)))
    model = ChatLlamaEngine.from_uri(str(base or _base_of(first)), temperature=0.0, adapters={})
    usable = [episode for episode in practice if episode.solved and episode.rule_ids]
    chosen = _fresh_scopes(first, practice) if fresh is None else list(fresh)
    probes = counterfactual_probes(usable, chosen) if chosen and usable else ()
    return build_dataset(practice, probes, answer_of(model))


def _fresh_scopes(settings: Settings, practice: "Sequence[Practice]") -> list[str]:
    """Return scopes of the environment's training tasks that the practice does not touch."""
    from agentevo.runtime import environment_of
    from agentevo_environments.errors import UnknownNameError

    environment = environment_of(settings)
    try:
        tasks = environment.tasks("train", _FRESH_TASKS, settings.env.seed + 1)
    except UnknownNameError:
        return []
    finally:
        environment.close()
    return sorted({task.scope for task in tasks if task.scope} - {p.scope for p in practice})


def _setting(settings: Settings) -> Any:
    from agentevo.distillation.practice import Setting
    from agentevo.runtime import environment_of
    from agentevo.updating.in_weight import teachable_rules
    from agentevo_memory import VectorMemory

    folder = settings.memory.path or settings.home / "memory"
    memory = VectorMemory(folder, read_only=True)
    environment = environment_of(settings)
    try:
        tools: tuple[Mapping[str, Any], ...] = tuple(
            {"type": "function", "function": {**_fields(tool), "parameters": dict(tool.parameters)}}
            for tool in environment.tools()
        )
        rules = teachable_rules(memory, (settings.memory.namespace,))
        return Setting(environment.instructions, tools, rules)
    finally:
        environment.close()
        memory.close()


def _fields(tool: Any) -> dict[str, str]:
    return {"name": tool.name, "description": tool.description}


def _run_settings(settings: Settings, run_id: str) -> Settings:
    from agentevo.runs.directory import open_run

    return open_run(settings.home, resolve_run(settings.home, run_id)).settings()


def _base_of(settings: Settings) -> Path:
    """Return the model file behind a run's model.

    Raises:
        AdapterError: It is no local model.
    """
    spec, _, rest = settings.model.spec.partition(":")
    if spec == "llamacpp":
        return Path(rest.partition("?")[0])
    if spec == "seed":
        from agentevo.seed_model.shipped import seed_model_path

        return seed_model_path()
    raise AdapterError(
        f"the run used {settings.model.spec!r}, whose weights are not here; name a local base "
        "model with --base FILE.gguf"
    )


def _train_settings(method: str, steps: int | None, replay: bool) -> "TrainSettings":
    from agentevo.distillation.settings import TrainSettings

    chosen = TrainSettings(method=method)  # type: ignore[arg-type]
    if steps is not None:
        chosen = replace(chosen, steps=steps)
    return chosen if replay else replace(chosen, mix={"target": sum(chosen.mix.values())})


def _job(settings: Settings, name: str) -> "Job":
    from agentevo.distillation.jobs import list_jobs, open_job

    root = _root(settings)
    known = list_jobs(root)
    return open_job(root, known[-1] if name == "last" and known else name)


def _root(settings: Settings) -> Path:
    return settings.home / "distillations"
