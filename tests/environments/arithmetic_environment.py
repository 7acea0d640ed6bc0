"""The example of the README: an environment of another project, in a few lines."""

import random
from collections.abc import Sequence

from agentevo_environments import Action, Environment, Grade, Observation, Task, TaskId, ToolSpec
from agentevo_environments.errors import UnknownNameError


class ArithmeticEnvironment(Environment):
    """Adding two numbers."""

    name = "arithmetic"

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        if split != "test":
            raise UnknownNameError(f"no split {split!r}; there is: test")
        pairs = [divmod(i, 100) for i in random.Random(seed).sample(range(10_000), 50)]
        return [Task(TaskId(f"{a}+{b}"), f"{a} + {b}?", data={"sum": a + b}) for a, b in pairs[:n]]

    def tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec.of("answer", "Give the result.", number="integer")]

    def reset(self, task: Task) -> Observation:
        self.expected, self.given = task.data["sum"], object()
        return Observation("")

    def step(self, action: Action) -> Observation:
        if action.tool != "answer" or type(action.arguments.get("number")) is not int:
            return Observation("Use answer(number) with a whole number.", error=True)
        self.given = action.arguments["number"]
        return Observation("Noted.", done=True)

    def grade(self) -> Grade:
        return Grade(float(self.given == self.expected), self.given == self.expected)

    def oracle(self, task: Task) -> Sequence[Action]:
        return [Action("answer", {"number": task.data["sum"]})]
