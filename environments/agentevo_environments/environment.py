"""The `Environment` contract: tasks to choose from, tools to act with, a grade at the end.

ENV of the survey (section 2). To add one, subclass `Environment`, implement `tasks`, `reset`,
`step` and `grade`, and register the class under the entry-point group `agentevo.environments`.
`agentevo_environments.conformance.check_environment` tests any implementation.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from agentevo_environments.task import Action, Grade, JSONValue, Observation, Task, ToolSpec


class Environment(ABC):
    """A family of tasks and the world they are done in.

    An instance serves one episode at a time: `reset`, `step` until the observation is done or
    the step limit is reached, `grade`. The runtime makes one instance per concurrent episode and
    calls an instance from one thread at a time. Bad actions are observations with `error=True`,
    never exceptions; exceptions mean that the machinery is broken.

    Attributes:
        name: The name under which it is registered.
        needs_sandbox: Whether the constructor takes a `sandbox` keyword, which it then owns:
            started at the first `reset` or `restore`, closed by `close`.
        step_limit: Largest number of actions in one episode.
        instructions: The system prompt: what the agent is and how it should act.
    """

    name: ClassVar[str]
    needs_sandbox: ClassVar[bool] = False
    step_limit: int = 16
    instructions: str = "Solve the task with the tools you have."

    @abstractmethod
    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        """Return the first `n` tasks of a split (all when None); the same arguments, the same tasks.

        Raises:
            UnknownNameError: The split does not exist; the message lists those that do.
            TaskFileError: The task file cannot be read.
        """

    @abstractmethod
    def reset(self, task: Task) -> Observation:
        """Start an episode of `task`; the observation's text is empty when the prompt says it all."""

    @abstractmethod
    def step(self, action: Action) -> Observation:
        """Do one action. An action whose id was done before returns its first observation again."""

    @abstractmethod
    def grade(self) -> Grade:
        """Judge the episode, out of the agent's reach; the same state gives the same grade."""

    @abstractmethod
    def tools(self) -> Sequence[ToolSpec]:
        """Return the tools of the current episode (of any episode before the first `reset`)."""

    def oracle(self, task: Task) -> Sequence[Action] | None:
        """Return actions that solve `task`, or None where no solution is known."""
        del task
        return None

    def decoy(self, task: Task) -> Sequence[Action] | None:
        """Return plausible actions that do not solve `task`, or None; checks that grading can fail."""
        del task
        return None

    def snapshot(self) -> JSONValue:
        """Return the state of the episode as JSON, enough for `restore` in another process."""
        raise NotImplementedError(f"{type(self).__name__} cannot be snapshotted; define snapshot()")

    def restore(self, task: Task, snapshot: JSONValue) -> None:
        """Continue an episode of `task` from a `snapshot`."""
        raise NotImplementedError(f"{type(self).__name__} cannot be restored; define restore()")

    def close(self) -> None:  # noqa: B027 (optional hook)
        """Release what the instance holds (sandboxes, servers). May be called twice."""
