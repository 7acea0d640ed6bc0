"""Strategies of solutions act through an agent and keep nothing of what they added to a prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agentevo.acquisition.run_agent import DrainedError, RunAgent, StopRequest
from agentevo.acquisition.solutions import SOLUTIONS, STEP_BY_STEP, Hint, Sample
from agentevo.config import Settings
from agentevo.errors import ModelError
from agentevo.models import init_model
from agentevo.models.scripted import ScriptedModel
from agentevo.objective import Objective
from agentevo.recall import Outcome, Turn
from agentevo.runs.worker import World
from agentevo.stages import Round
from agentevo_environments import Task, TaskId

NOW = Round(2, Objective("counter"), seed=0)
TASKS = [Task(TaskId("a"), "Reach 1."), Task(TaskId("b"), "Reach 2.")]


@dataclass
class Told:
    """An agent that solves what its prompt gives away, and notes what it was told."""

    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    known: frozenset[str] = frozenset({"a", "b"})

    def attempt(
        self, tasks: Sequence[Task], *, label: str, recall: bool = True
    ) -> Mapping[str, Outcome]:
        self.asked += [(label, task.prompt, recall) for task in tasks]
        return {task.id: self._outcome(task) for task in tasks}

    def _outcome(self, task: Task) -> Outcome:
        solved = "expected 2" in task.prompt or task.id == "a"
        turn = Turn("add 1", "ok" if solved else "expected 2", not solved)
        return Outcome(
            "r", f"r:{task.id}", "e", task.id, "", task.prompt, (turn,), solved, float(solved)
        )

    def ask(self, prompt: str) -> str:
        return f"answer to {prompt}"

    def can_attempt(self, task: Task) -> bool:
        return task.id in self.known


@pytest.mark.parametrize("name", SOLUTIONS)
def test_every_strategy_returns_solutions_of_the_tasks_as_they_were_given(name: str) -> None:
    solutions = SOLUTIONS[name](Told()).solve(TASKS, NOW)
    assert {solution.task.id for solution in solutions} == {"a", "b"}
    assert all(solution.task in TASKS for solution in solutions)
    assert all(s.outcome and s.outcome.prompt == s.task.prompt for s in solutions)


def test_chain_of_thought_adds_its_words_for_the_agent_only() -> None:
    agent = Told()
    SOLUTIONS["chain_of_thought"](agent).solve(TASKS, NOW)
    assert [prompt for _, prompt, _ in agent.asked] == [
        f"Reach {number}.\n{STEP_BY_STEP}" for number in (1, 2)
    ]


def test_a_hint_is_given_for_failures_only_and_solves_them() -> None:
    agent = Told()
    solutions = Hint(agent).solve(TASKS, NOW)
    hinted = [prompt for label, prompt, _ in agent.asked if label == "2-hint"]
    assert len(hinted) == 1
    assert "expected 2" in hinted[0]
    assert [(s.task.id, s.polarity, s.revised_from) for s in solutions] == [
        ("a", "positive", ""),
        ("b", "unknown", ""),
        ("b", "positive", "add 1"),
    ]


def test_perturbed_attempts_are_negative_unless_they_solve() -> None:
    solutions = SOLUTIONS["perturb"](Told()).solve(TASKS, NOW)
    assert [solution.polarity for solution in solutions] == ["positive", "negative"]


def test_only_grounded_strategies_ask_the_memory() -> None:
    grounded = {}
    for name, strategy in SOLUTIONS.items():
        agent = Told()
        strategy(agent).solve(TASKS, NOW)
        grounded[name] = any(recall for _, _, recall in agent.asked)
    assert {name for name, recall in grounded.items() if recall} == {"recall", "hint"}


def test_samples_are_episodes_of_their_own() -> None:
    agent = Told()
    assert len(Sample(agent, 3).solve(TASKS, NOW)) == 6
    assert len({(label, prompt) for label, prompt, _ in agent.asked}) == 6


def test_invented_tasks_are_answered_by_the_model() -> None:
    invented = Task(TaskId("new"), "Reach 9.")
    solution = SOLUTIONS["direct"](Told()).solve([invented], NOW)[0]
    assert (solution.text, solution.outcome) == ("answer to Reach 9.", None)


@pytest.fixture
def make_agent(tmp_path: Any, counter: Any) -> Callable[..., RunAgent]:
    def make(**changes: Any) -> RunAgent:
        agent = RunAgent(
            settings=Settings.model_validate(
                {"home": tmp_path, "env": {"name": "counter"}, "run": {"concurrency": 2}}
            ),
            model=init_model("scripted:oracle"),
            make_world=lambda: World(type(counter)()),
            pool=frozenset(task.id for task in counter.tasks(n=5)),
        )
        return replace(agent, **changes)

    return make


def test_a_run_agent_does_the_episodes_of_a_label_once(
    make_agent: Callable[..., RunAgent], counter: Any
) -> None:
    tasks = counter.tasks(n=3)[1:]
    events: list[str] = []
    agent = make_agent(on_event=lambda event: events.append(event["type"]))
    first = agent.attempt(tasks, label="1-direct")
    count = len(events)
    again = make_agent().attempt(tasks, label="1-direct")
    assert first == again
    assert [outcome.solved for outcome in first.values()] == [True, True]
    assert [len(outcome.turns) for outcome in first.values()] == [1, 2]
    assert len(events) == count > 0


def test_a_drained_run_agent_says_so_and_goes_on_later(
    make_agent: Callable[..., RunAgent], counter: Any
) -> None:
    stop = StopRequest()
    stop.request()
    with pytest.raises(DrainedError, match="0 of 2"):
        make_agent(stop=stop).attempt(counter.tasks(n=3)[1:], label="1-direct")
    assert len(make_agent().attempt(counter.tasks(n=3)[1:], label="1-direct")) == 2


def test_only_chat_models_answer_questions(make_agent: Callable[..., RunAgent]) -> None:
    with pytest.raises(ModelError, match="answers no questions"):
        make_agent().ask("why?")
    assert make_agent(model=ScriptedModel(responses=["so"])).ask("why?") == "so"
