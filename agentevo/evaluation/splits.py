"""Which tasks are learnt from, which the gate judges by, and which are kept for the last exam.

The three are disjoint, and every scope is in all of them as far as it has enough tasks, because what
is learnt in one scope says nothing about another. Tasks of a scope that read the same stay together:
a held-out task is one that nobody has practised under another id.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentevo.errors import ConfigError
from agentevo_environments.task import Task


@dataclass(frozen=True, slots=True)
class Splits:
    """The tasks of an evolution.

    Attributes:
        practice: Attempted and learnt from.
        gate: Held out; every verdict on a candidate rests on them.
        exam: Held out; seen once, by every arm of the report.
    """

    practice: tuple[Task, ...]
    gate: tuple[Task, ...]
    exam: tuple[Task, ...]


def split_tasks(
    tasks: Sequence[Task], *, gate_share: float, exam_share: float, seed: int
) -> Splits:
    """Divide tasks scope by scope; the same arguments give the same division.

    Raises:
        ConfigError: There are too few tasks to hold any out, or to learn from any.
    """
    parts: tuple[list[Task], list[Task], list[Task]] = ([], [], [])
    owed = [0.0, 0.0]
    for scope in dict.fromkeys(task.scope for task in tasks):
        group = [task for task in tasks if task.scope == scope]
        left = _alike(random.Random(f"{seed}:{scope}:split").sample(group, len(group)))
        for index, share in enumerate((gate_share, exam_share)):
            owed[index] += share * len(group)
            taken = _take(left, int(owed[index] + 1e-9))
            owed[index] -= len(taken)
            parts[index + 1].extend(taken)
        held_out = {task.id for part in parts[1:] for task in part}
        parts[0].extend(task for task in group if task.id not in held_out)
    if not all(parts):
        raise ConfigError(
            f"{len(tasks)} tasks leave {len(parts[0])} to learn from and hold out {len(parts[1])} "
            f"for the gate and {len(parts[2])} for the exam; each needs at least one: raise env.n, "
            "or change evaluation.gate_share and evaluation.exam_share of the recipe"
        )
    return Splits(*(tuple(part) for part in parts))


def _alike(tasks: Sequence[Task]) -> list[list[Task]]:
    """Return the tasks in groups that read the same, in the order of their first members."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(" ".join(task.prompt.split()), []).append(task)
    return list(groups.values())


def _take(groups: list[list[Task]], count: int) -> list[Task]:
    """Remove groups from the front, skipping those that are too large, until `count` tasks are out."""
    taken: list[Task] = []
    for group in list(groups):
        if len(taken) + len(group) <= count:
            taken += group
            groups.remove(group)
    return taken
