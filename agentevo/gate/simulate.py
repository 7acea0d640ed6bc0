"""Measures the gate by simulation: false accepts under the null, power under a given gain."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from agentevo.gate.criteria import Criterion, Pair, weigh


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of candidate.

    Attributes:
        name: What it stands for.
        won: Probability that only the candidate solves a task.
        lost: Probability that only the incumbent does.
    """

    name: str
    won: float
    lost: float

    @property
    def gain(self) -> float:
        """True mean difference."""
        return self.won - self.lost


NULL_SCENARIOS: Sequence[Scenario] = (
    Scenario("same answers on almost all tasks", 0.02, 0.02),
    Scenario("a tenth of the tasks flips each way", 0.10, 0.10),
    Scenario("independent coin flips", 0.25, 0.25),
)
GAIN_SCENARIOS: Sequence[Scenario] = (
    Scenario("+20 points, nothing lost", 0.20, 0.00),
    Scenario("+20 points, 2 points lost", 0.22, 0.02),
    Scenario("+20 points, 5 points lost", 0.25, 0.05),
    Scenario("+20 points, independent answers at 50 %", 0.35, 0.15),
)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often candidates of a scenario were accepted, and after how many pairs.

    Attributes:
        scenario: Which candidates.
        accepted: Share accepted, from 0 to 1.
        mean_pairs: Mean number of pairs until the decision.
    """

    scenario: Scenario
    accepted: float
    mean_pairs: float


def simulate(
    scenarios: Sequence[Scenario], criterion: Criterion, *, candidates: int, seed: int = 0
) -> list[Rate]:
    """Let the gate judge simulated candidates of each scenario.

    Args:
        scenarios: What the candidates are like.
        criterion: The criterion that judges them.
        candidates: Number of candidates per scenario.
        seed: Seed of the simulated outcomes.
    """
    rates = []
    for scenario in scenarios:
        source = random.Random(f"{seed}:{scenario.name}")
        accepted = pairs = 0
        for _ in range(candidates):
            outcomes = [_draw(scenario, source) for _ in range(criterion.budget)]
            scored = [(str(i), lambda pair=pair: pair) for i, pair in enumerate(outcomes)]
            evidence = weigh(criterion, scored)
            accepted += evidence.shown
            pairs += evidence.pairs
        rates.append(Rate(scenario, accepted / candidates, pairs / candidates))
    return rates


def _draw(scenario: Scenario, source: random.Random) -> Pair:
    value = source.random()
    if value < scenario.won:
        return (1.0, 0.0)
    if value < scenario.won + scenario.lost:
        return (0.0, 1.0)
    return (1.0, 1.0)
