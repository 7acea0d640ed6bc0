"""A small world to run the real graph in: a counter that must reach a target."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from langchain_core.messages import AIMessage, ToolCall

from agentevo.episode import EpisodeContext
from agentevo.models.scripted import ScriptedModel
from agentevo_environments import Action, Environment, Grade, Observation, Task, TaskId, ToolSpec


class Counter(Environment):
    """Add until the sum is the target. `fail_with` breaks the next action."""

    name: ClassVar[str] = "counter"
    step_limit = 6
    instructions = "Reach the target."

    def __init__(self) -> None:
        self.sum = 0
        self.target = 0
        self.done_ids: list[str] = []
        self.fail_with: Exception | None = None

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [Task(TaskId(f"t{i}"), f"Reach {i}.", data={"target": i}) for i in range(n or 3)]

    def reset(self, task: Task) -> Observation:
        self.restore(task, 0)
        return Observation("The sum is 0.")

    def step(self, action: Action) -> Observation:
        if self.fail_with is not None:
            raise self.fail_with
        self.done_ids.append(action.id)
        amount = action.arguments.get("amount")
        if not isinstance(amount, int):
            return Observation(f"amount must be an integer, not {amount!r}", error=True)
        self.sum += amount
        return Observation(f"The sum is {self.sum}.", done=self.sum == self.target)

    def grade(self) -> Grade:
        solved = self.sum == self.target
        return Grade(float(solved), solved)

    def tools(self) -> Sequence[ToolSpec]:
        parameters: Any = {"type": "object", "properties": {"amount": {"type": "integer"}}}
        return [ToolSpec("add", "Add to the sum.", parameters)]

    def oracle(self, task: Task) -> Sequence[Action]:
        return [Action("add", {"amount": 1})] * int(str(task.data["target"]))

    def decoy(self, task: Task) -> Sequence[Action]:
        return [Action("add", {"amount": 1000})]

    def snapshot(self) -> int:
        return self.sum

    def restore(self, task: Task, snapshot: Any) -> None:
        self.sum, self.target = snapshot, int(str(task.data["target"]))


def add(*amounts: Any) -> AIMessage:
    """Return an answer that calls `add` once per amount."""
    calls = [
        ToolCall(name="add", args={"amount": amount}, id=f"c{i}", type="tool_call")
        for i, amount in enumerate(amounts)
    ]
    return AIMessage("", tool_calls=calls)


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def make_add() -> Any:
    return add


@pytest.fixture
def make_context(counter: Counter) -> Any:
    def make(*responses: Any, **options: Any) -> EpisodeContext:
        return EpisodeContext(counter, ScriptedModel(responses=list(responses)), "r", **options)

    return make


@pytest.fixture
def reach_3(counter: Counter) -> Task:
    return counter.tasks(n=4)[3]
