"""The options of `agentevo distill plan` and `run`, and the distiller and rows that they name."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import SetOption, resolve_run, settings_of
from agentevo.cli.output import JsonFlag
from agentevo.config import Settings
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from agentevo.distillation.dataset import Dataset
    from agentevo.distillation.distiller import Distiller
    from agentevo.distillation.jobs import Job
    from agentevo.distillation.settings import TrainSettings

RunsOption = Annotated[
    list[str], typer.Option("--run", metavar="RUN", help="A run with memory; repeat for more.")
]
OthersOption = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="RUN", help="A run whose behaviour has to stay; repeat."),
]
BaseOption = Annotated[
    Path | None, typer.Option(help="Base model; default: the model that the run used.")
]
FreshOption = Annotated[
    list[str] | None,
    typer.Option("--fresh", metavar="NAME", help="A scope name that nothing uses; for replay."),
]
MethodOption = Annotated[str, typer.Option(help="context, sft, on_policy or dpo.")]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Training steps. Default: 10 a rule, at least 250.")
]
RankOption = Annotated[int | None, typer.Option(min=1, help="Rank of the adapter.")]
TrackOption = Annotated[
    str, typer.Option(help="Follow the training in tensorboard or trackio as well.")
]
ReplayFlag = Annotated[
    bool, typer.Option("--replay/--no-replay", help="Train what must not change as well.")
]
ExportOption = Annotated[
    Path | None, typer.Option(help="Write the rows into this JSONL file, for other trainers.")
]
_FRESH_TASKS = 400


@dataclass(frozen=True, slots=True)
class DistillRequest:
    """What `plan` and `run` are asked for: settings of the home, the distiller, its rows."""

    settings: Settings
    distiller: "Distiller"
    dataset: "Dataset"
    track: str


def offer(
    app: typer.Typer, name: str, act: Callable[[typer.Context, DistillRequest, bool], None]
) -> None:
    """Offer a command that begins with making the rows; all such commands take the same options."""

    def command(
        ctx: typer.Context,
        runs: RunsOption,
        keep: OthersOption = None,
        base: BaseOption = None,
        fresh: FreshOption = None,
        method: MethodOption = "context",
        steps: StepsOption = None,
        rank: RankOption = None,
        replay: ReplayFlag = True,
        track: TrackOption = "",
        export: ExportOption = None,
        sets: SetOption = None,
        as_json: JsonFlag = False,
    ) -> None:
        from agentevo.distillation.rows import write_chat

        settings = settings_of(ctx, sets=sets)
        train = _train_settings(method, replay, steps=steps, rank=rank)
        distiller = _distiller(settings, runs, base, train)
        chosen = _fresh_scopes(_run_settings(settings, runs[0])) if fresh is None else fresh
        distiller = replace(distiller, fresh_scopes=chosen if replay else ())
        dataset = distiller.plan(_checkpoints(settings, runs), replay=_checkpoints(settings, keep))
        if export is not None:
            write_chat(export, dataset.rows)
        act(ctx, DistillRequest(settings, distiller, dataset, track), as_json)

    command.__doc__ = act.__doc__
    app.command(name)(command)


def probe(settings: Settings, job: "Job", runs: Sequence[str]) -> dict[str, Any]:
    """Return what the adapter of a finished job and its base answer on the tasks of other runs.

    Raises:
        AdapterError: The job is not finished, or no episode was solved with rules in the prompt.
    """
    made = job.report().get("adapter_id")
    if made is None:
        raise AdapterError(
            f"distillation {job.id} is not finished; agentevo distill resume {job.id}"
        )
    distiller = _distiller(settings, runs, job.base, job.settings)
    distiller = replace(distiller, fresh_scopes=_fresh_scopes(_run_settings(settings, runs[0])))
    probes = distiller.probes(distiller.registry.get(made), _checkpoints(settings, runs))
    if not probes.tasks["gain"]:
        raise AdapterError(
            f"no episode of {', '.join(runs)} was solved with verified rules in the prompt, so there "
            "is nothing to ask; run more tasks with memory"
        )
    return probes.summary()


def _distiller(
    settings: Settings, runs: Sequence[str], base: Path | None, train: "TrainSettings"
) -> "Distiller":
    """Return the distiller of the runs' environment and memory.

    Raises:
        AdapterError: The runs are of different environments, or their model is not a local one.
    """
    from agentevo.distillation.distiller import Distiller
    from agentevo.runtime import environment_of
    from agentevo.updating.in_weight import setting_of
    from agentevo_memory import VectorMemory

    of_runs = [_run_settings(settings, name) for name in runs]
    first, named = of_runs[0], sorted({each.env.name for each in of_runs})
    if len(named) > 1:
        raise AdapterError(
            f"the runs are of different environments ({', '.join(named)}); distil one at a time"
        )
    folder = first.memory.path or first.home / "memory"
    with (
        closing(VectorMemory(folder, read_only=True)) as memory,
        closing(environment_of(first)) as environment,
    ):
        setting = setting_of(environment, memory, (first.memory.namespace,))
    return Distiller(settings.home, base or _base_of(first), setting, train=train)


def _checkpoints(settings: Settings, runs: Sequence[str] | None) -> list[Path]:
    from agentevo.runs.directory import open_run

    names = [resolve_run(settings.home, name) for name in runs or ()]
    return [open_run(settings.home, name).checkpoints for name in names]


def _fresh_scopes(settings: Settings) -> list[str]:
    """Return scopes of the environment's training tasks; none if it has no such split."""
    from agentevo.runtime import environment_of
    from agentevo_environments.errors import UnknownNameError

    with closing(environment_of(settings)) as environment:
        try:
            tasks = environment.tasks("train", _FRESH_TASKS, settings.env.seed + 1)
        except UnknownNameError:
            return []
    return sorted({task.scope for task in tasks if task.scope})


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


def _train_settings(method: str, replay: bool, **given: int | None) -> "TrainSettings":
    from agentevo.distillation.settings import TrainSettings

    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if "rank" in chosen:
        chosen["alpha"] = 2 * chosen["rank"]
    train = TrainSettings(method=method, **chosen)  # type: ignore[arg-type]
    return train if replay else replace(train, mix={"target": sum(train.mix.values())})
