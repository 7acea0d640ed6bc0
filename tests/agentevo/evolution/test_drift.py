"""When a world changes, success falls, and verified rules that replace old ones bring it back."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentevo.acquisition.feedback import EnvironmentFeedback
from agentevo.acquisition.run_agent import RunAgent
from agentevo.config import Settings
from agentevo.objective import Objective
from agentevo.recall import Memory, Outcome
from agentevo.runs.worker import World
from agentevo.runtime import environment_of, tasks_of
from agentevo.stages import Experience, Round, Solution
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.keeping import Insert
from agentevo.updating.reflection import ReflectRules
from agentevo_environments.task import Task
from agentevo_memory import VectorMemory
from agentevo_memory.journal import Selection
from agentevo_memory.reflectors import key_of, reflect_on_errors

NOW = Round(1, Objective("quirks"), seed=0)
DAYS, WORLDS = 16, 3


@pytest.fixture
def drifting(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    options = {"tasks_per_world": DAYS, "quirks_per_world": 6, "tier": "drift"}
    return make_settings(tmp_path / "home", n=DAYS * WORLDS, options=options)


@pytest.fixture
def learn(drifting: Settings, believer: Any, tmp_path: Path) -> Callable[..., Mapping[str, float]]:
    tasks = tasks_of(drifting)
    agent = RunAgent(
        drifting,
        believer(),
        lambda: World(environment_of(drifting)),
        pool=frozenset(task.id for task in tasks),
        environment="quirks",
    )

    def rate(memory: InContextMemory, some: Sequence[Task], label: str) -> float:
        done = agent.with_memory(memory).attempt(some, label=label)
        return sum(outcome.solved for outcome in done.values()) / len(done)

    def through(name: str, *, resolve: bool) -> Mapping[str, float]:
        store = VectorMemory(tmp_path / name, embedder="hashing")
        memory = InContextMemory(store, ("default",), k=16)
        before = [task for index, task in enumerate(tasks) if index % DAYS < DAYS // 2]
        after = [task for task in tasks if task not in before]
        measured = {}
        for phase, some in (("before", before), ("after", after)):
            measured[f"{phase} learning"] = rate(memory, some, f"{name}-{phase}-0")
            _learn(agent, memory, some, (f"{name}-{phase}", resolve))
            measured[phase] = rate(memory, some, f"{name}-{phase}-1")
        measured["outdated"] = _outdated(memory)
        store.close()
        return measured

    return through


def _outdated(memory: InContextMemory) -> int:
    """Count the rules that instruct although another one says something else of the same matter."""
    chosen = Selection(kinds=("rule",), statuses=("active",))
    matters = [key_of(rule.text) for rule in memory.store.records(chosen) if rule.may_instruct]
    return len(matters) - len(set(matters))


def _learn(
    agent: RunAgent, memory: InContextMemory, tasks: Sequence[Task], how: tuple[str, bool]
) -> None:
    label, resolve = how
    done = agent.with_memory(memory).attempt(tasks, label=f"{label}-practice")
    solutions = [Solution(task, "", done[task.id]) for task in tasks]
    given = [Experience(s, (EnvironmentFeedback().assess(s),)) for s in solutions]

    def replay(cases: Sequence[Task], on_trial: Memory) -> Mapping[str, Outcome]:
        return agent.with_memory(on_trial).attempt(cases, label=f"{label}-replay")

    Insert(memory, "quirks").update(given, NOW)
    ReflectRules(memory, "quirks", reflect_on_errors, "errors@1", replay, resolve).update(
        given, NOW
    )


@pytest.mark.slow
def test_success_recovers_after_a_drift_and_outdated_rules_leave_the_prompt(
    learn: Callable[..., Mapping[str, float]],
) -> None:
    replaced, piled = learn("replaced", resolve=True), learn("piled", resolve=False)
    assert replaced["before learning"] == 0.0
    assert replaced["before"] >= 0.8
    assert replaced["after learning"] < 0.7 * replaced["before"]
    assert replaced["after"] >= 0.9 * replaced["before"]
    assert replaced["outdated"] == 0
    assert piled["outdated"] > 0, "without resolving, rules that hold no more are still told"
