"""`Objective`: E_t = (A_t, D_t) of the survey (section 3), as a tree with measured leaves.

A leaf is an ability to move in a direction until its target is met; an inner objective is the
weighted mean of its children and is never reported improved when one of its leaves fell.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from agentevo.errors import AgentevoError

Direction = Literal["improve_performance", "adapt_to_feedback", "expand_knowledge", "safety"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class ObjectiveError(AgentevoError, ValueError):
    """An objective that is malformed or that nothing can measure."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What to get better at.

    Attributes:
        ability: A_t: what is measured, such as an environment's name or a task family; unique
            within a tree.
        direction: D_t, one of the survey's four (section 3.2).
        target: Score in [0, 1] at which it is met.
        weight: Share in its parent's mean; above 0.
        children: Objectives that it consists of; a leaf has none.
    """

    ability: str
    direction: Direction = "improve_performance"
    target: float = 1.0
    weight: float = 1.0
    children: tuple["Objective", ...] = ()

    def __post_init__(self) -> None:
        if not self.ability:
            raise ObjectiveError("an objective needs an ability, such as the environment's name")
        if self.direction not in DIRECTIONS:
            raise ObjectiveError(
                f"unknown direction {self.direction!r}; directions: {', '.join(DIRECTIONS)}"
            )
        if not 0.0 <= self.target <= 1.0:
            raise ObjectiveError(
                f"the target of {self.ability!r} is {self.target!r}, not in [0, 1]"
            )
        if not self.weight > 0.0:
            raise ObjectiveError(f"the weight of {self.ability!r} is {self.weight!r}, not above 0")
        names = [leaf.ability for leaf in self.leaves()]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ObjectiveError(
                f"abilities occur twice in one tree: {', '.join(sorted(repeated))}"
            )

    def leaves(self) -> Iterator["Objective"]:
        """Yield the objectives that are measured, left to right."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def score(self, measured: Mapping[str, float]) -> float:
        """Return the weighted mean of the leaves' scores.

        Raises:
            ObjectiveError: A leaf was not measured.
        """
        if not self.children:
            if self.ability not in measured:
                raise ObjectiveError(
                    f"no environment measures {self.ability!r}; measured: "
                    + (", ".join(sorted(measured)) or "nothing")
                )
            return measured[self.ability]
        total = sum(child.weight for child in self.children)
        return sum(child.weight * child.score(measured) for child in self.children) / total


def deficits(objective: Objective, measured: Mapping[str, float]) -> list[tuple[Objective, float]]:
    """Return the leaves below their target with their weighted deficits, largest first.

    A leaf's weight is the product of the shares along its path, so that deficits of different
    branches compare. Ties keep the order of the tree.
    """
    shares = _shares(objective, 1.0)
    gaps = [
        (leaf, share * (leaf.target - leaf.score(measured)))
        for leaf, share in shares
        if leaf.score(measured) < leaf.target
    ]
    return sorted(gaps, key=lambda gap: -gap[1])


def next_objective(objective: Objective, measured: Mapping[str, float]) -> Objective | None:
    """Return the leaf with the largest weighted deficit, or None when every target is met."""
    ranked = deficits(objective, measured)
    return ranked[0][0] if ranked else None


def improved(
    objective: Objective,
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    tolerance: float = 0.0,
) -> bool:
    """Whether the objective may be reported improved: a higher score and no leaf that fell.

    Args:
        objective: The tree.
        before: Score of every leaf before.
        after: Score of every leaf after.
        tolerance: How much a leaf may fall without counting as fallen, in [0, 1].
    """
    fell = any(leaf.score(after) < leaf.score(before) - tolerance for leaf in objective.leaves())
    return not fell and objective.score(after) > objective.score(before)


def _shares(objective: Objective, share: float) -> Sequence[tuple[Objective, float]]:
    if not objective.children:
        return [(objective, share)]
    total = sum(child.weight for child in objective.children)
    return [
        pair
        for child in objective.children
        for pair in _shares(child, share * child.weight / total)
    ]
