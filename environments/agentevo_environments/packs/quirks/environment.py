"""The `quirks` environment: get a job done in a service whose documentation is wrong.

The service runs as a program in the sandbox; only its answers reach the agent, and its quirks
and the goal are in the hidden data of the task.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any, ClassVar, Literal

from agentevo_environments.environment import Environment
from agentevo_environments.errors import ActionError
from agentevo_environments.packs.quirks.difficulty import (
    Combinations,
    Difficulty,
    Feedback,
    Tier,
)
from agentevo_environments.packs.quirks.jobs import commands, with_item
from agentevo_environments.packs.quirks.prompts import HARD_INSTRUCTIONS, INSTRUCTIONS
from agentevo_environments.packs.quirks.service import OBJECTS
from agentevo_environments.packs.quirks.tasks import job_of, make_tasks
from agentevo_environments.sandboxes.base import Limits, Program, Sandbox
from agentevo_environments.task import Action, Grade, JSONValue, Observation, Task, ToolSpec

TOOLS = (
    ToolSpec.of("run", "Run one command of the service and see its answer.", command="string"),
)
LIMITS = Limits(timeout_s=10.0)
LONGEST_COMMAND = 2000


class QuirksEnvironment(Environment):
    """Do jobs in generated worlds; see `Difficulty` for what the options mean.

    Args:
        sandbox: Where the service runs. It is owned: started at the first `reset`, closed by
            `close`.
        quirks_per_world: Number of quirks in each world.
        fewest_per_task: Smallest number of quirks that one task meets.
        most_per_task: Largest number of quirks that one task meets.
        tasks_per_world: Consecutive tasks that share a world.
        step_limit: Largest number of commands in one episode.
        feedback: What an error says: "explicit" (what would be right), "expected" (what was
            expected and what was got) or "pass_fail".
        errors: Whether an error names "all" problems of a command or only the "first".
        tier: "basic", "hard" (offsets and conditions) or "drift" (quirks change halfway).
        combinations: "any", or "trained": without those that are kept from pre-training.
        attempts: Number of failed commands that ends an episode; 0 sets no such end.

    Raises:
        ValueError: The options contradict each other; the message says how.
    """

    name = "quirks"
    needs_sandbox: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 (each knob is an option that users set by name)
        self,
        *,
        sandbox: Sandbox,
        quirks_per_world: int = 12,
        fewest_per_task: int = 1,
        most_per_task: int = 3,
        tasks_per_world: int = 10,
        step_limit: int = 12,
        feedback: Feedback = "explicit",
        errors: Literal["all", "first"] = "all",
        tier: Tier = "basic",
        combinations: Combinations = "trained",
        attempts: int = 0,
    ) -> None:
        self.difficulty = Difficulty(
            quirks_per_world, fewest_per_task, most_per_task, tasks_per_world, step_limit,
            feedback, errors, tier, combinations, attempts,
        )  # fmt: skip
        self.step_limit = step_limit
        self.instructions = HARD_INSTRUCTIONS if tier == "hard" else INSTRUCTIONS
        self._sandbox = sandbox
        self._source = files(__package__).joinpath("service.py").read_text(encoding="utf-8")
        self._started = False
        self._task: Task | None = None
        self._failed = 0
        self._state: dict[str, Any] = {}
        self._done: dict[str, Observation] = {}

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Return the first `n` tasks (200 when None) of a split; another seed, other worlds."""
        return make_tasks(self.difficulty, split, n, seed)

    def tools(self) -> Sequence[ToolSpec]:
        """Return `run`."""
        return TOOLS

    def reset(self, task: Task) -> Observation:
        """Start with a fresh service; the prompt says it all."""
        self._begin(task)
        self._sandbox.reset()
        return Observation("")

    def _begin(self, task: Task) -> None:
        if not self._started:
            self._sandbox.start()
            self._started = True
        self._task, self._failed = task, 0
        self._state, self._done = {"steps": [], "objects": {}}, {}

    def step(self, action: Action) -> Observation:
        """Run one command in the service; the last attempt that fails ends the episode."""
        if self._task is None:
            raise ActionError("no task is set; call reset(task) before step")
        if action.id and action.id in self._done:
            return self._done[action.id]
        if self._over:
            return Observation("error:\n- no attempts are left", done=True, error=True)
        observation = self._run(self._task, action)
        self._failed += observation.error
        observation = replace(observation, done=observation.done or self._over)
        if action.id:
            self._done[action.id] = observation
        return observation

    @property
    def _over(self) -> bool:
        return 0 < self.difficulty.attempts <= self._failed

    def _run(self, task: Task, action: Action) -> Observation:
        command = action.arguments.get("command")
        if action.tool != "run":
            return Observation(f"error:\n- there is no tool {action.tool!r}, use run", error=True)
        if set(action.arguments) != {"command"} or not isinstance(command, str):
            return Observation("error:\n- run takes one argument, command, a text", error=True)
        if len(command) > LONGEST_COMMAND:
            return Observation(f"error:\n- more than {LONGEST_COMMAND} characters", error=True)
        request = {"world": task.data["world"], "state": self._state, "command": command}
        program = Program(code=self._source, stdin=json.dumps(request).encode())
        result = self._sandbox.exec(program, limits=LIMITS, execution_id=action.id)
        if not result.ok:
            return Observation(f"error:\n- the service failed ({result.ending})", error=True)
        reply = json.loads(result.stdout)
        self._state = reply["state"]
        return Observation(reply["text"], done=self.grade().solved, error=reply["error"])

    def grade(self) -> Grade:
        """Compare the service's state with the goal."""
        if self._task is None:
            return Grade(0.0, False, "no task was set")
        goal, objects = self._task.data["goal"], self._state["objects"]
        if objects == goal:
            return Grade(1.0, True, "the goal is reached")
        if not objects:
            return Grade(0.0, False, "nothing was done")
        assert isinstance(goal, dict)
        if all(objects.get(item) == wanted for item, wanted in goal.items()):
            return Grade(0.5, False, "the goal is reached, but more was changed")
        return Grade(0.0, False, "something else was done")

    def oracle(self, task: Task) -> Sequence[Action] | None:
        """Return the commands of one who knows the world's quirks."""
        return _actions(commands(job_of(task), _quirks(task)))

    def decoy(self, task: Task) -> Sequence[Action] | None:
        """Return the right commands for another object."""
        job = job_of(task)
        other = next(item for item in OBJECTS if item != job.item)
        return _actions(commands(with_item(job, other), _quirks(task)))

    def snapshot(self) -> JSONValue:
        """Return the service's state and the observations by action id."""
        done = {key: [seen.text, seen.done, seen.error] for key, seen in self._done.items()}
        state = json.loads(json.dumps(self._state))
        return {"state": state, "done": done, "failed": self._failed}

    def restore(self, task: Task, snapshot: JSONValue) -> None:
        """Continue; the service keeps nothing in the sandbox between commands."""
        match snapshot:
            case {"state": dict(state), "done": dict(done), "failed": int(failed)}:
                self._begin(task)
                self._state, self._failed = dict(state), failed
                self._done = {key: Observation(*seen) for key, seen in done.items()}  # type: ignore[misc]
            case _:
                raise ActionError(f"not a snapshot of the quirks environment: {snapshot!r:.200}")

    def close(self) -> None:
        """Close the sandbox."""
        self._sandbox.close()


def _quirks(task: Task) -> dict[str, str]:
    world: Any = task.data["world"]
    return dict(world["quirks"])


def _actions(lines: list[str]) -> list[Action]:
    return [Action("run", {"command": line}) for line in lines]
