"""The `code` environment: the agent writes a Python function, hidden tests grade it.

Tasks come from a HumanEval- or MBPP-format file, or from the set that ships with the package.
`grading` says what a solution can and cannot do to its grade.
"""

import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from agentevo_environments.environment import Environment
from agentevo_environments.errors import ActionError, UnknownNameError
from agentevo_environments.packs.code.grading import Grader, HiddenTests
from agentevo_environments.packs.code.mutation import mutated
from agentevo_environments.packs.code.task_file import read_tasks
from agentevo_environments.packs.code.tools import TOOLS, code_of, recorded, replayed, report
from agentevo_environments.sandboxes.base import Limits, Program, Sandbox
from agentevo_environments.task import Action, Grade, JSONValue, Observation, Task, ToolSpec


class CodeEnvironment(Environment):
    """Write a Python function that passes hidden tests.

    Args:
        sandbox: Where the agent's programs and the tests run. It is owned: started at the first
            `reset`, closed by `close`.
        tasks: A task file (`.jsonl`, `.jsonl.gz`); None for the set that ships with the package.
        timeout_s: Seconds that one execution may take.
    """

    name = "code"
    needs_sandbox: ClassVar[bool] = True
    step_limit = 8
    instructions = (
        "You write Python functions. Try your code with run_python as often as the steps allow, "
        "then hand in the whole module with submit. Hidden tests decide; you submit once."
    )

    def __init__(
        self, *, sandbox: Sandbox, tasks: str | Path | None = None, timeout_s: float = 10.0
    ) -> None:
        self._sandbox = sandbox
        self._source = files(__package__).joinpath("tasks.jsonl") if tasks is None else Path(tasks)
        self._limits = Limits(timeout_s=timeout_s)
        self._known: tuple[Task, ...] = ()
        self._started = False
        self._task: Task | None = None

    def _begin(self, task: Task) -> None:
        if not self._started:
            self._sandbox.start()
            self._started = True
        self._task = task
        self._submitted: str | None = None
        self._steps = 0
        self._done: dict[str, Observation] = {}
        self._grade: Grade | None = None

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Return tasks in the file's order; a seed other than 0 shuffles them."""
        self._known = self._known or read_tasks(self._source)
        splits = {task.split for task in self._known}
        if split not in splits:
            have = ", ".join(sorted(splits))
            raise UnknownNameError(f"{self._source} has no split {split!r}; it has: {have}")
        chosen = [task for task in self._known if task.split == split]
        if seed:
            random.Random(seed).shuffle(chosen)
        return chosen[:n]

    def tools(self) -> Sequence[ToolSpec]:
        """Return `run_python` and `submit`."""
        return TOOLS

    def reset(self, task: Task) -> Observation:
        """Start with an empty sandbox; the prompt says it all."""
        self._begin(task)
        self._sandbox.reset()
        return Observation("")

    def step(self, action: Action) -> Observation:
        """Run a program or take the solution."""
        if self._task is None:
            raise ActionError("no task is set; call reset(task) before step")
        if action.id and action.id in self._done:
            return self._done[action.id]
        observation = self._do(action)
        self._steps += 1
        if self._steps >= self.step_limit and not observation.done:
            observation = Observation(observation.text, done=True, error=observation.error)
        if action.id:
            self._done[action.id] = observation
        return observation

    def _do(self, action: Action) -> Observation:
        if self._submitted is not None or self._steps >= self.step_limit:
            return Observation("The task has ended; nothing more can be done.", True, True)
        try:
            code = code_of(action)
        except ActionError as error:
            return Observation(f"Error: {error}.", error=True)
        if action.tool == "submit":
            self._submitted = code
            return Observation("Submitted.", done=True)
        result = self._sandbox.exec(Program(code=code), limits=self._limits, execution_id=action.id)
        return Observation(report(result), error=not result.ok)

    def grade(self) -> Grade:
        """Run the hidden tests on what was submitted."""
        if self._task is None or self._submitted is None:
            return Grade(0.0, False, "nothing was submitted")
        if self._grade is None:
            grader = Grader(self._sandbox, HiddenTests.of(self._task), self._limits)
            self._grade = grader.grade(self._submitted)
        return self._grade

    def oracle(self, task: Task) -> Sequence[Action] | None:
        """Return the submission of the known solution, if the task has one."""
        reference = HiddenTests.of(task).reference
        return [Action("submit", {"code": reference})] if reference else None

    def decoy(self, task: Task) -> Sequence[Action] | None:
        """Return the submission of the known solution with every answer changed."""
        hidden = HiddenTests.of(task)
        if not hidden.reference:
            return None
        code = mutated(hidden.reference, hidden.entry_point)
        return [Action("submit", {"code": code})]

    def snapshot(self) -> JSONValue:
        """Return what was submitted, the number of steps and the observations by action id."""
        done: JSONValue = {key: recorded(seen) for key, seen in self._done.items()}
        return {"submitted": self._submitted, "steps": self._steps, "done": done}

    def restore(self, task: Task, snapshot: JSONValue) -> None:
        """Continue; programs leave nothing behind in the sandbox that could be missing."""
        match snapshot:
            case {"submitted": str() | None as submitted, "steps": int(steps), "done": dict(done)}:
                self._begin(task)
                self._submitted, self._steps = submitted, steps
                self._done = {key: replayed(seen) for key, seen in done.items()}
            case _:
                raise ActionError(f"not a snapshot of the code environment: {snapshot!r:.200}")

    def close(self) -> None:
        """Close the sandbox."""
        self._sandbox.close()
