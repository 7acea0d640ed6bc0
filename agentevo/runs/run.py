"""Carrying out a run: the tasks that are not done yet, each once, until done or drained."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentevo.config import Settings
from agentevo.episode import Budgets
from agentevo.errors import RunError
from agentevo.events import Event, make_event
from agentevo.models import AnyModel
from agentevo.recall import Memory
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.directory import RunDirectory, versions
from agentevo.runs.drain import Drain, drain_on_signals
from agentevo.runs.event_log import EventLog, read_events
from agentevo.runs.executor import Executor, ThreadExecutor
from agentevo.runs.report import EpisodeResult, RunReport, RunStatus
from agentevo.runs.worker import EpisodeParts, EpisodeWorker, World, finished_event
from agentevo_environments.task import Task


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The live parts of a run.

    Attributes:
        settings: What the user asked for.
        tasks: What is to be done, ids unique.
        model: Who does it.
        make_world: Makes an environment for one worker.
        memory: What is recalled from and reported to, or None.
        executor: Who does the work; None for threads.
    """

    settings: Settings
    tasks: Sequence[Task]
    model: AnyModel
    make_world: Callable[[], World]
    memory: Memory | None = None
    executor: Executor | None = None


def carry_out(
    directory: RunDirectory,
    plan: RunPlan,
    *,
    on_event: Callable[[Event], None] | None = None,
    drain: Drain | None = None,
) -> RunReport:
    """Do what is left of a run, write its report and return it.

    Raises:
        RunInUseError: Another process is working on the run.
        RunError: The tasks have changed since the run began, or a file cannot be written.
    """
    drain, began = drain or Drain(), time.monotonic()
    synchronous = plan.settings.run.synchronous
    with (
        directory.lock(),
        open_checkpoints(directory.checkpoints, synchronous=synchronous) as saver,
        EventLog(directory.events, on_event) as events,
        drain_on_signals(drain),
    ):
        ledger = Ledger(saver)
        _claim_tasks(directory, plan, ledger)
        done = ledger.outcomes()
        _announce(directory, events, done, total=len(plan.tasks))
        parts = EpisodeParts(
            run_id=directory.id,
            model=plan.model,
            memory=plan.memory,
            budgets=_budgets(plan.settings),
            durability=plan.settings.run.durability,
            saver=saver,
            ledger=ledger,
            events=events,
            drain=drain,
        )
        left = [task for task in plan.tasks if parts.episode_id(task) not in done]
        executor = plan.executor or ThreadExecutor(plan.settings.run.concurrency)
        for result in executor.run(lambda: EpisodeWorker(parts, plan.make_world), left, drain):
            if result is not None:
                done[result.episode_id] = result
        ledger.remember("seconds", ledger.fact("seconds", 0.0) + time.monotonic() - began)
        status: RunStatus = "finished" if len(done) == len(plan.tasks) else "stopped"
        report = report_of(directory, ledger, status)
        directory.write_report(report)
        events.append(make_event(f"run_{status}", directory.id, report.summary()))
        events.flush()
        return report


def report_of(directory: RunDirectory, ledger: Ledger, status: RunStatus) -> RunReport:
    """Return the report that a run's ledger gives, episodes in the order of the tasks."""
    settings = directory.settings()
    done = ledger.outcomes()
    ids = [f"{directory.id}:{task}" for task in ledger.fact("tasks", ())]
    return RunReport(
        id=directory.id,
        status=status,
        environment=settings.env.name,
        model=settings.model.spec,
        total=len(ids),
        episodes=tuple(done[each] for each in ids if each in done),
        started_at=ledger.fact("started_at", 0.0),
        seconds=ledger.fact("seconds", 0.0),
        seed=settings.env.seed,
        versions=ledger.fact("versions", {}),
        settings=settings.model_dump(mode="json", exclude_none=True),
        containment=ledger.fact("containment"),
    )


def _claim_tasks(directory: RunDirectory, plan: RunPlan, ledger: Ledger) -> None:
    """Note the tasks of a new run; make sure that a resumed one still has the same."""
    digest = _digest(plan.tasks)
    known = ledger.fact("tasks_sha256")
    if known is None:
        ledger.remember("started_at", time.time())
        ledger.remember("versions", versions())
        ledger.remember("tasks", [task.id for task in plan.tasks])
        ledger.remember("tasks_sha256", digest)
    elif known != digest:
        raise RunError(
            f"the tasks of run {directory.id!r} have changed since it began; restore them "
            f"({plan.settings.env.tasks or plan.settings.env.name}), or start a new run with: "
            f"agentevo run --from {directory.id}"
        )


def _digest(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        content = [task.id, task.prompt, task.scope, task.split, dict(task.data)]
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def _announce(
    directory: RunDirectory,
    events: EventLog,
    done: Mapping[str, EpisodeResult],
    *,
    total: int,
) -> None:
    """Say that the run starts or goes on, after events of outcomes that a kill kept back."""
    seen = list(read_events(directory.events))
    told = {e["episode_id"] for e in seen if e["type"] == "agentevo.episode_finished"}
    data: dict[str, Any] = {
        "total": total,
        "finished": len(done),
        "solved": sum(result.solved for result in done.values()),
    }
    if not seen:
        data |= {"versions": versions(), "settings": directory.settings().model_dump(mode="json")}
    for episode_id, result in done.items():
        if episode_id not in told:
            events.append(finished_event(directory.id, result), tell=False)
    events.append(make_event("run_resumed" if seen else "run_started", directory.id, data))


def _budgets(settings: Settings) -> Budgets:
    return Budgets(
        steps=settings.run.step_limit,
        tokens=settings.run.token_budget,
        wall_s=settings.run.wall_s,
        memory_tokens=settings.memory.budget_tokens,
    )
