"""How fast success comes back after the worlds change, with forgetting and without.

Worlds of `quirks` in the tier "drift" are worked through day by day; half of the quirks of each world
change in the middle. After every day the failures are reflected into rules, which are verified by
doing their cases again. With forgetting, a rule that was verified replaces the older one on the same
matter, and rules that harm are let go; without, rules pile up. Everything else is the same.

Run: python tests/benchmarks/bench_drift.py [WORLDS] [DAYS] [SEEDS]
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agentevo.acquisition.feedback import EnvironmentFeedback
from agentevo.acquisition.run_agent import RunAgent
from agentevo.config import Settings
from agentevo.models import AnyModel
from agentevo.objective import Objective
from agentevo.recall import Memory, Outcome
from agentevo.runs.directory import RunDirectory, create_run
from agentevo.runs.outcomes import read_outcomes
from agentevo.runs.worker import World
from agentevo.runtime import environment_of, model_of, tasks_of
from agentevo.stages import Experience, Round, Solution
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.keeping import Forget, Insert
from agentevo.updating.reflection import ReflectRules
from agentevo_environments.task import Task
from agentevo_memory import Policy, VectorMemory
from agentevo_memory.reflectors import reflect_on_errors

WORLDS: Mapping[str, object] = {"tier": "drift", "quirks_per_world": 10, "fewest_per_task": 2}
"""Every task needs several rules, so that stale ones are met in most tasks."""
WINDOW = 4
"""Days over which success is averaged."""
SERVICE_FAILED = "the service failed"
"""What an environment answers when its program did not come to an end."""
SHARE = 0.9
"""Share of the earlier success that counts as recovered."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream of days came to.

    Attributes:
        days: Success of every day, from 0 to 1, tasks done before anything was learnt from them.
        per_day: Tasks of one day.
        drift: Index of the first day after the change.
        broken: Episodes that ended because something broke, or in which the service did not run (its
            sandbox took too long, as on a machine that is too busy), not because of the agent.
    """

    days: Sequence[float]
    per_day: int
    drift: int
    broken: int

    @property
    def before(self) -> float:
        """Success in the last days before the change."""
        return _mean(self.days[self.drift - WINDOW : self.drift])

    @property
    def dip(self) -> float:
        """Success on the first day after it."""
        return self.days[self.drift]

    @property
    def after(self) -> float:
        """Success in the last days of all."""
        return _mean(self.days[-WINDOW:])

    @property
    def recovered_after(self) -> int | None:
        """Tasks after the change until success was back over a whole window; None if it never was."""
        for day in range(self.drift + WINDOW, len(self.days) + 1):
            if _mean(self.days[day - WINDOW : day]) >= SHARE * self.before:
                return (day - self.drift) * self.per_day
        return None


def stream(settings: Settings, model: AnyModel, folder: Path, *, forgetting: bool) -> Stream:
    """Work through the tasks of `settings` day by day, learning after each day."""
    tasks = tasks_of(settings)
    own = settings.model_copy(update={"home": folder})
    agent = RunAgent(
        own,
        model,
        lambda: World(environment_of(settings)),
        pool=frozenset(task.id for task in tasks),
        environment="quirks",
    )
    by_world: dict[str, list[Task]] = {}
    for task in tasks:
        by_world.setdefault(task.scope, []).append(task)
    days = list(zip(*by_world.values(), strict=True))
    chosen = settings.memory
    store = VectorMemory(folder / "memory", embedder="hashing")
    with closing(InContextMemory(store, ("drift",), k=chosen.k, notes=chosen.notes)) as memory:
        rates = [
            _live_through(agent, memory, (number, day), forgetting=forgetting)
            for number, day in enumerate(days)
        ]
    broken = sum(
        _broken(create_run(own, f"{number:03}-{part}"))
        for number in range(len(days))
        for part in ("day", "replay")
    )
    return Stream(rates, len(by_world), (len(days) + 1) // 2, broken)


def _broken(run: RunDirectory) -> int:
    """Return how many episodes of a run say nothing about the agent."""
    report = run.read_report()
    if report is None:
        return 0
    ended = {e.task_id for e in report.episodes if e.failure and e.failure.type != "budget"}
    unserved = {
        task
        for task, outcome in read_outcomes(run, "quirks").items()
        if any(turn.error and SERVICE_FAILED in turn.observation for turn in outcome.turns)
    }
    return len(ended | unserved)


def _live_through(
    agent: RunAgent, memory: InContextMemory, day: tuple[int, Sequence[Task]], *, forgetting: bool
) -> float:
    number, tasks = day
    done = agent.with_memory(memory).attempt(tasks, label=f"{number:03}-day")
    solutions = [Solution(task, "", done[task.id]) for task in tasks]
    given = [Experience(each, (EnvironmentFeedback().assess(each),)) for each in solutions]

    def replay(cases: Sequence[Task], on_trial: Memory) -> Mapping[str, Outcome]:
        return agent.with_memory(on_trial).attempt(cases, label=f"{number:03}-replay")

    now = Round(number + 1, Objective("quirks"), seed=number)
    Insert(memory, "quirks").update(given, now)
    rules = ReflectRules(memory, "quirks", reflect_on_errors, "errors@1", replay, forgetting)
    rules.update(given, now)
    if forgetting:
        Forget(memory, Policy(name="utility", below=0.15, kinds=("rule",))).update(given, now)
    return _mean([float(outcome.solved) for outcome in done.values()])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def measure(
    settings: Settings, make_model: Callable[[], AnyModel], folder: Path
) -> Mapping[bool, Stream]:
    """Return the streams with forgetting (True) and without (False) over the same tasks."""
    return {
        forgetting: stream(settings, make_model(), folder / str(forgetting), forgetting=forgetting)
        for forgetting in (True, False)
    }


def main(worlds: int = 14, days: int = 24, seeds: int = 3) -> None:
    """Measure with the seed model in its sandbox, and print a line for each seed and arm."""
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            settings = Settings.model_validate(
                {
                    "home": Path(name),
                    "model": {"spec": "seed", "max_tokens": 128},
                    "memory": {"k": 24, "notes": 0},
                    "run": {"durability": "exit", "synchronous": "NORMAL", "concurrency": 8},
                    "env": {
                        "name": "quirks",
                        "n": worlds * days,
                        "seed": seed,
                        "options": {**WORLDS, "tasks_per_world": days, "attempts": 1},
                    },
                }
            )
            measured = measure(settings, partial(model_of, settings), Path(name))
            for forgetting, found in measured.items():
                recovered = found.recovered_after
                print(
                    f"seed {seed} forgetting {'on ' if forgetting else 'off'}: "
                    f"before {found.before:.2f}, first day after {found.dip:.2f}, "
                    f"end {found.after:.2f}, "
                    + (f"recovered after {recovered} tasks" if recovered else "not recovered")
                    + f" ({worlds} worlds, {days} days, {found.broken} episodes broke)",
                    flush=True,
                )
                print("  " + " ".join(f"{rate:.2f}" for rate in found.days), flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
