"""The composition root: settings become environments, sandboxes, models and one durable run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from agentevo.config import Settings
from agentevo.errors import ConfigError, RunError
from agentevo.events import Event
from agentevo.models import AnyModel, init_model
from agentevo.recall import Memory
from agentevo.runs.checkpoints import read_ledger
from agentevo.runs.directory import RunDirectory, create_run, open_run, run_directories
from agentevo.runs.drain import Drain, drained_when_cancelled
from agentevo.runs.report import EpisodeResult, Failure, RunReport
from agentevo.runs.run import RunPlan, carry_out, report_of
from agentevo.runs.worker import World
from agentevo_environments.environment import Environment
from agentevo_environments.registry import make_environment
from agentevo_environments.sandboxes.base import Sandbox
from agentevo_environments.task import Task

__all__ = [
    "Drain",
    "EpisodeResult",
    "Failure",
    "RunReport",
    "aresume",
    "arun",
    "environment_of",
    "list_runs",
    "load_report",
    "memory_of",
    "model_of",
    "resume",
    "run",
    "tasks_of",
]

OnEvent = Callable[[Event], None]


def run(
    settings: Settings, *, on_event: OnEvent | None = None, drain: Drain | None = None
) -> RunReport:
    """Run the episodes that `settings` describe, in a new run directory under `settings.home`.

    SIGINT and SIGTERM (in the main thread) drain the run: steps in progress are finished and
    checkpointed, and the report comes back with status "stopped". A second signal ends at once.

    Args:
        settings: What to run.
        on_event: Called with every event, one at a time, from worker threads.
        drain: Lets other threads ask the run to stop.

    Returns:
        The report, with status "finished" or "stopped".

    Raises:
        UnknownModelError: The model does not exist; nothing was started.
        ModelError: Its package or API key is missing; nothing was started.
        RunError: The run cannot start or cannot be written; the message says how to go on.
        EnvironmentsError: The environment, its tasks or the sandbox cannot start.
    """
    with _plan(settings) as plan:
        return carry_out(create_run(settings), plan, on_event=on_event, drain=drain)


def resume(
    home: Path, run_id: str, *, on_event: OnEvent | None = None, drain: Drain | None = None
) -> RunReport:
    """Continue a run that was stopped or killed; a finished run returns its report.

    Args:
        home: The data folder.
        run_id: The run.
        on_event: Called with every event, one at a time, from worker threads.
        drain: Lets other threads ask the run to stop.

    Raises:
        RunInUseError: Another process is working on the run.
        RunError: There is no such run, or its tasks have changed.
    """
    directory = open_run(home, run_id)
    report = directory.read_report()
    if report is not None and report.status == "finished":
        return report
    with _plan(directory.settings()) as plan:
        return carry_out(directory, plan, on_event=on_event, drain=drain)


async def arun(settings: Settings, *, on_event: OnEvent | None = None) -> RunReport:
    """Like `run`, beside the event loop; cancelling drains the run, which stays resumable."""
    drain = Drain()
    return await drained_when_cancelled(
        drain, lambda: run(settings, on_event=on_event, drain=drain)
    )


async def aresume(home: Path, run_id: str, *, on_event: OnEvent | None = None) -> RunReport:
    """Like `resume`, beside the event loop; cancelling drains the run, which stays resumable."""
    drain = Drain()
    return await drained_when_cancelled(
        drain, lambda: resume(home, run_id, on_event=on_event, drain=drain)
    )


def list_runs(home: Path) -> Sequence[RunReport]:
    """Return the reports of all runs under `home`, newest first."""
    reports = [_report(directory) for directory in run_directories(home)]
    return sorted(reports, key=lambda report: report.started_at, reverse=True)


def load_report(home: Path, run_id: str) -> RunReport:
    """Return the report of a run, of an unfinished one as far as it has come.

    Raises:
        RunError: There is no such run; the message names the nearest ids.
    """
    return _report(open_run(home, run_id))


def environment_of(
    settings: Settings, *, sandbox_factory: Callable[[], Sandbox] | None = None
) -> Environment:
    """Return a new environment as `settings` describe it; the caller closes it.

    Args:
        settings: Its sections `env` and `sandbox` count.
        sandbox_factory: Makes the sandbox instead of the settings.

    Raises:
        UnknownNameError: The environment or one of its options does not exist.
    """
    options = dict(settings.env.options)
    if settings.env.tasks is not None:
        options["tasks"] = str(settings.env.tasks)
    return make_environment(
        settings.env.name,
        sandbox_factory=sandbox_factory or (lambda: sandbox_of(settings)),
        **options,
    )


def sandbox_of(settings: Settings) -> Sandbox:
    """Return a new sandbox, not yet started, as `settings.sandbox` describes it.

    Raises:
        UnknownNameError: There is no such backend.
        ConfigError: The backend takes no such options.
    """
    from agentevo_environments.sandboxes import make_sandbox

    chosen = settings.sandbox
    options: dict[str, Any] = dict(chosen.options)
    if chosen.allow_unsafe:
        options["allow_unsafe"] = True
    try:
        return make_sandbox(chosen.backend, **options)
    except TypeError as error:
        raise ConfigError(f"the sandbox {chosen.backend!r} refuses its options: {error}") from error


def tasks_of(settings: Settings) -> Sequence[Task]:
    """Return the tasks that `settings.env` selects; at least one, with unique ids.

    Raises:
        RunError: There is no task, or two have the same id.
        EnvironmentsError: The environment or its task file is not right.
    """
    environment = environment_of(settings)
    try:
        chosen = settings.env
        tasks = environment.tasks(split=chosen.split, n=chosen.n, seed=chosen.seed)
    finally:
        environment.close()
    if not tasks:
        raise RunError(f"{_origin(settings)} has no tasks in split {settings.env.split!r}")
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise RunError(f"{_origin(settings)} has two tasks with the id {task.id!r}; rename one")
        seen.add(task.id)
    return tasks


def model_of(settings: Settings) -> AnyModel:
    """Return the model that `settings.model` describes.

    Raises:
        UnknownModelError: It does not exist.
        ModelError: Its package or API key is missing.
    """
    chosen = settings.model
    remote = not chosen.spec.startswith(("llamacpp:", "seed"))
    return init_model(
        chosen.spec,
        temperature=chosen.temperature,
        max_tokens=chosen.max_tokens,
        timeout=chosen.timeout_s if remote else None,
        max_retries=chosen.max_retries if remote else None,
        **chosen.options,
    )


@contextmanager
def _plan(settings: Settings) -> Iterator[RunPlan]:
    from agentevo.updating.serving import served_model

    tasks, model = tasks_of(settings), model_of(settings)
    model = served_model(model, settings.home, told=settings.memory.enabled)
    with memory_of(settings) as memory:
        yield RunPlan(settings, tasks, model, lambda: _world(settings), memory)


@contextmanager
def memory_of(settings: Settings) -> Iterator[Memory | None]:
    """Open the memory that `settings.memory` describes; gives None when it is not enabled."""
    if not settings.memory.enabled:
        yield None
        return
    from agentevo.updating.in_context import open_memory

    folder = settings.memory.path or settings.home / "memory"
    chosen = settings.memory
    memory = open_memory(folder, chosen.namespace, k=chosen.k, notes=chosen.notes)
    with closing(memory):
        yield memory


def _world(settings: Settings) -> World:
    made: list[Sandbox] = []

    def make() -> Sandbox:
        made.append(sandbox_of(settings))
        return made[-1]

    environment = environment_of(settings, sandbox_factory=make)
    return World(environment, made[-1] if made else None)


def _report(directory: RunDirectory) -> RunReport:
    written = directory.read_report()
    if written is not None and written.status == "finished":
        return written
    with read_ledger(directory.checkpoints) as ledger:
        if directory.is_running():
            return report_of(directory, ledger, "running")
        report = report_of(directory, ledger, "interrupted")
    return written if written and len(written.episodes) == len(report.episodes) else report


def _origin(settings: Settings) -> str:
    if settings.env.tasks is not None:
        return f"the task file {str(settings.env.tasks)!r}"
    return f"the environment {settings.env.name!r}"
