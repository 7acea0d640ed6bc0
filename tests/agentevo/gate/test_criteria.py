"""The gate accepts a candidate only when every criterion is shown."""

import random

import pytest

from agentevo.gate import Criterion, Gate
from agentevo.gate.simulate import GAIN_SCENARIOS, NULL_SCENARIOS, simulate

GAIN = Criterion("gain")
RETENTION = Criterion("retention", margin=0.1)
TASKS = {"gain": [f"g{i}" for i in range(64)], "retention": [f"r{i}" for i in range(64)]}


def test_a_better_candidate_that_keeps_everything_is_accepted() -> None:
    verdict = Gate([GAIN, RETENTION]).judge(
        TASKS, lambda name, task: (1.0, 0.0) if name == "gain" else (1.0, 1.0)
    )
    assert verdict.accepted
    assert [entry.reason for entry in verdict.evidence] == ["shown", "shown"]
    assert verdict.harmed == ()


def test_a_gain_paid_for_by_damage_is_refused_and_the_damage_is_listed() -> None:
    verdict = Gate([GAIN, RETENTION]).judge(
        TASKS, lambda name, task: (1.0, 0.0) if name == "gain" else (0.0, 1.0)
    )
    assert not verdict.accepted
    assert verdict.evidence[-1].criterion.name == "retention"
    assert verdict.harmed[:2] == ("r0", "r1")


def test_the_trial_ends_when_the_gain_is_out_of_reach() -> None:
    asked = []

    def score(name: str, task: str) -> tuple[float, float]:
        asked.append(task)
        return (0.0, 1.0)

    verdict = Gate([GAIN]).judge(TASKS, score)
    assert verdict.evidence[0].reason == "futile"
    assert len(asked) < 60


def test_a_criterion_without_tasks_is_not_shown() -> None:
    verdict = Gate([GAIN]).judge({}, lambda name, task: (1.0, 0.0))
    assert (verdict.accepted, verdict.evidence[0].reason) == (False, "no tasks")


def test_a_budget_bounds_the_pairs() -> None:
    verdict = Gate([Criterion("gain", budget=5)]).judge(TASKS, lambda name, task: (1.0, 1.0))
    assert verdict.evidence[0].pairs <= 5


@pytest.mark.parametrize("criteria", [[], [GAIN, GAIN]])
def test_a_gate_without_distinct_criteria_is_refused(criteria: list[Criterion]) -> None:
    with pytest.raises(ValueError, match="criteria"):
        Gate(criteria)


def test_no_null_candidate_is_accepted_more_often_than_alpha() -> None:
    rates = simulate(NULL_SCENARIOS, GAIN, candidates=2000)
    assert all(rate.accepted <= GAIN.alpha for rate in rates), rates


def test_twenty_points_are_found_within_sixty_four_pairs() -> None:
    rates = simulate(GAIN_SCENARIOS[:3], GAIN, candidates=300, seed=1)
    assert all(rate.accepted >= 0.75 for rate in rates), rates


def test_half_harmful_updates_serve_no_harmful_one() -> None:
    source = random.Random(7)
    for harmful in [True, False] * 20:
        won, lost = (0.05, 0.30) if harmful else (0.35, 0.02)

        def score(
            name: str, task: str, won: float = won, lost: float = lost
        ) -> tuple[float, float]:
            value = source.random()
            return (1.0, 0.0) if value < won else (0.0, 1.0) if value < won + lost else (1.0, 1.0)

        if Gate([GAIN]).judge(TASKS, score).accepted:
            assert not harmful
