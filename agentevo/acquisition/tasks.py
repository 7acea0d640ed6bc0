"""Task evolution f_T: which tasks a round works on (survey section 4.1).

Selective strategies choose from the environment's own tasks; the knowledge-free ones ask a model for
new ones, keep only texts that are new, and leave grading to whoever can grade them.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from agentevo.stages import Round, TaskEvolver
from agentevo_environments.task import Task, TaskId

if TYPE_CHECKING:
    import numpy as np

Ask = Callable[[str], str]
"""A language model: prompt in, text out."""
Embed = Callable[[Sequence[str]], "np.ndarray"]
"""Texts to unit vectors, shape (texts, dimensions)."""

_NUMBERED = re.compile(r"^\s*\d+[.)]\s+(?P<text>\S.*)$", re.MULTILINE)
_SHORTEST_TASK = 8


@dataclass(frozen=True, slots=True)
class Pool:
    """The pool in its own order, from the start, every round the same."""

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return the first `n` tasks."""
        del now
        return pool[:n]


@dataclass(frozen=True, slots=True)
class Split:
    """The pool in chunks of `n`, one per round; starts over at its end."""

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return the chunk of this round."""
        start = (now.number - 1) * n
        return [pool[(start + i) % len(pool)] for i in range(min(n, len(pool)))]


@dataclass(frozen=True, slots=True)
class Random:
    """A fresh sample without replacement every round."""

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return a seeded sample."""
        return random.Random(f"{now.seed}:tasks").sample(list(pool), min(n, len(pool)))


@dataclass(frozen=True, slots=True)
class Failed:
    """Tasks whose latest attempt failed first, then tasks not tried yet, then the rest."""

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return the `n` tasks with the most to gain, in a seeded order among equals."""
        shuffled = random.Random(f"{now.seed}:tasks").sample(list(pool), len(pool))
        return sorted(shuffled, key=lambda task: _promise(now.history.get(task.id)))[:n]


def _promise(score: float | None) -> float:
    untried = 0.5
    return untried if score is None else score


@dataclass(frozen=True, slots=True)
class Diverse:
    """Tasks far from each other: greedy k-center in an embedding space (Gonzalez 1985).

    Attributes:
        embed: The embedding of prompts.
    """

    embed: Embed

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return `n` tasks, each as far as possible from those before it."""
        import numpy as np

        if not pool:
            return []
        vectors = self.embed([task.prompt for task in pool])
        chosen = [random.Random(f"{now.seed}:tasks").randrange(len(pool))]
        distance = 1 - vectors @ vectors[chosen[0]]
        while len(chosen) < min(n, len(pool)):
            distance[chosen] = -np.inf
            chosen.append(int(distance.argmax()))
            distance = np.minimum(distance, 1 - vectors @ vectors[chosen[-1]])
        return [pool[index] for index in chosen]


@dataclass(frozen=True, slots=True)
class SelfInstruct:
    """New tasks that a model writes after a few examples (Self-Instruct, Wang et al. 2023).

    Attributes:
        ask: The model.
        examples: How many tasks of the pool it sees.
    """

    ask: Ask
    examples: int = 6

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return up to `n` new tasks; texts that are not new or too short are left out."""
        source = random.Random(f"{now.seed}:tasks")
        shown = source.sample(list(pool), min(self.examples, len(pool)))
        listing = "\n".join(f"{i}. {task.prompt}" for i, task in enumerate(shown, start=1))
        answer = self.ask(
            f"Here are tasks:\n{listing}\nWrite {n} new and different tasks of this kind as a "
            f"numbered list that starts with {len(shown) + 1}."
        )
        texts = [match["text"].strip() for match in _NUMBERED.finditer(answer)]
        return _new_tasks(texts, pool, shown[0] if shown else None, now, "self_instruct")[:n]


OPERATORS: Final[Mapping[str, str]] = {
    "constrain": "Add one further requirement to this task.",
    "deepen": "Make this task ask for more depth.",
    "concretise": "Replace general notions in this task by concrete ones.",
    "reason": "Rewrite this task so that it needs one more step of reasoning.",
    "breadth": "Write a new task of the same domain that is less usual.",
    "rephrase": "Say this task in other words; keep its meaning.",
}
"""What `Rewrite` asks for (Evol-Instruct, Xu et al. 2023; rephrase: MetaMath, Yu et al. 2023)."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Tasks of the pool rewritten by a model, one operator each in turn.

    Attributes:
        ask: The model.
        operators: Names from `OPERATORS`.
    """

    ask: Ask
    operators: tuple[str, ...] = tuple(OPERATORS)

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return up to `n` rewritten tasks; unchanged or empty rewrites are left out."""
        source = random.Random(f"{now.seed}:tasks")
        rewritten: list[Task] = []
        for index, task in enumerate(source.sample(list(pool), min(n, len(pool)))):
            operator = self.operators[index % len(self.operators)]
            answer = self.ask(f"{OPERATORS[operator]} Answer with the task only.\n{task.prompt}")
            rewritten += _new_tasks([answer.strip()], [*pool, *rewritten], task, now, operator)
        return rewritten


def _new_tasks(
    texts: Sequence[str], known: Sequence[Task], parent: Task | None, now: Round, origin: str
) -> list[Task]:
    """Return tasks of the texts that nobody has yet, in the parent's scope and split."""
    seen = {_normal(task.prompt) for task in known}
    tasks: list[Task] = []
    for text in texts:
        if len(text) < _SHORTEST_TASK or _normal(text) in seen:
            continue
        seen.add(_normal(text))
        identifier = TaskId(f"{origin}-{now.number}-{len(known) + len(tasks)}")
        made = Task(identifier, text)
        if parent is not None:
            made = replace(made, scope=parent.scope, split=parent.split)
        tasks.append(made)
    return tasks


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


SELECTIVE: Final[Mapping[str, Callable[[], TaskEvolver]]] = {
    "pool": Pool,
    "split": Split,
    "random": Random,
    "failed": Failed,
}
"""Strategies that need nothing but the pool, by the name that a recipe uses."""
