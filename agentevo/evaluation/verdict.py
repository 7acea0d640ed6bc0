"""The gate over held-out tasks: a candidate memory against the one that is served."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentevo.gate import Criterion, Gate, PairedTest, Verdict

ScoreBlock = Callable[[Sequence[str], int], Mapping[str, float]]
"""Runs a block of tasks (ids, number of the block) and returns their scores by id."""
BLOCK = 8


@dataclass(slots=True)
class BlockScores:
    """Scores that are measured block by block, only as far as somebody asks.

    Attributes:
        tasks: Task ids in the order in which they will be asked for.
        measure: Runs one block.
    """

    tasks: Sequence[str]
    measure: ScoreBlock
    _known: dict[str, float] = field(default_factory=dict, init=False)

    def __getitem__(self, task: str) -> float:
        """Return the score of a task, measuring its block if that was not done yet."""
        if task not in self._known:
            number = self.tasks.index(task) // BLOCK
            block = self.tasks[number * BLOCK : (number + 1) * BLOCK]
            self._known |= self.measure(block, number)
        return self._known[task]


def fewest_pairs(alpha: float, margin: float, budget: int) -> int | None:
    """Return how many pairs without any difference show non-inferiority; None beyond the budget."""
    test = PairedTest(alpha=alpha, margin=margin)
    for pairs in range(1, budget + 1):
        test.update(0.0)
        if test.rejected:
            return pairs
    return None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a verdict may cost and how strict it is; see the recipe's `evaluation`."""

    alpha: float = 0.05
    pairs: int = 64
    retention_margin: float = 0.2
    seed: int = 0


def judge(
    tasks: Sequence[str],
    candidate: Mapping[str, float],
    incumbent: ScoreBlock,
    *,
    protected: Sequence[str] = (),
    settings: GateSettings = GateSettings(),
) -> Verdict:
    """Judge a candidate: a gain on held-out tasks, and no loss on those that were solved.

    Retention is asked for when there are enough protected tasks that it can be shown at all.

    Args:
        tasks: Ids of the held-out tasks.
        candidate: The candidate's score of each.
        incumbent: Measures the served memory.
        protected: Tasks that the served memory solved when it was accepted.
        settings: Error rate, budget, margin, seed of the order.
    """
    ordered = random.Random(f"{settings.seed}:gate").sample(list(tasks), len(tasks))
    kept = [task for task in ordered if task in protected]
    criteria = [Criterion("gain", alpha=settings.alpha, budget=settings.pairs)]
    needed = fewest_pairs(settings.alpha, settings.retention_margin, settings.pairs)
    if needed is not None and len(kept) >= needed:
        criteria.append(
            Criterion("retention", settings.retention_margin, settings.alpha, settings.pairs)
        )
    scores = BlockScores(ordered, incumbent)
    return Gate(criteria).judge(
        {"gain": ordered, "retention": kept},
        lambda criterion, task: (candidate[task], scores[task]),
    )
