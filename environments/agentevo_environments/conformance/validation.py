"""Validating an environment without a model: its known solutions solve, its known failures do not."""

from collections.abc import Iterable
from dataclasses import dataclass

from agentevo_environments.environment import Environment
from agentevo_environments.task import Action, Grade, Observation, Task


@dataclass(frozen=True, slots=True)
class Validation:
    """What playing the known solutions and failures of an environment's tasks showed.

    Attributes:
        tasks: How many tasks were looked at.
        oracles: How many of them have a known solution.
        oracles_solved: How many known solutions solve their task.
        decoys: How many tasks have a known failure.
        decoys_refused: How many known failures do not solve their task.
        problems: One line for each task that is wrong.
    """

    tasks: int
    oracles: int
    oracles_solved: int
    decoys: int
    decoys_refused: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there were tasks and none of them is wrong."""
        return self.tasks > 0 and not self.problems


def validate(
    environment: Environment, n: int | None = None, *, split: str = "test", seed: int = 0
) -> Validation:
    """Play the oracle and the decoy of the first `n` tasks, without a model.

    Raises:
        UnknownNameError: The split does not exist.
        SandboxError: The environment's sandbox cannot start or has died.
    """
    tasks = environment.tasks(split, n, seed)
    problems: list[str] = []
    played = {"oracle": 0, "decoy": 0}
    right = {"oracle": 0, "decoy": 0}
    for task in tasks:
        for kind, actions in (
            ("oracle", environment.oracle(task)),
            ("decoy", environment.decoy(task)),
        ):
            if actions is None:
                continue
            played[kind] += 1
            grade = play(environment, task, actions)
            if grade.solved == (kind == "oracle"):
                right[kind] += 1
            else:
                verb = "solves" if grade.solved else "does not solve"
                problems.append(f"{task.id}: the {kind} {verb} it ({grade.detail})")
    return Validation(
        tasks=len(tasks),
        oracles=played["oracle"],
        oracles_solved=right["oracle"],
        decoys=played["decoy"],
        decoys_refused=right["decoy"],
        problems=tuple(problems),
    )


def play(environment: Environment, task: Task, actions: Iterable[Action]) -> Grade:
    """Reset to a task, do the actions until one ends the episode, and return the grade."""
    environment.reset(task)
    perform(environment, actions)
    return environment.grade()


def perform(environment: Environment, actions: Iterable[Action]) -> list[Observation]:
    """Do the actions until one ends the episode; return what each showed."""
    seen: list[Observation] = []
    for action in actions:
        seen.append(environment.step(action))
        if seen[-1].done:
            break
    return seen
