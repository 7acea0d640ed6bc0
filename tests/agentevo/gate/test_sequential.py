"""The paired test errs at most alpha, however often one looks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.gate import PairedTest
from agentevo.gate.sequential import critical_wealth

differences = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=60)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_exact_enumeration_of_a_fair_walk_rejects_with_probability_at_most_alpha(
    alpha: float,
) -> None:
    horizon = 12
    rejected = sum(
        PairedTest(alpha=alpha, horizon=horizon).extend(walk).rejected
        for walk in itertools.product((-1.0, 1.0), repeat=horizon)
    )
    assert 0 < rejected / 2**horizon <= alpha


def test_a_planned_horizon_never_asks_for_more_than_the_unlimited_test() -> None:
    assert all(1 < critical_wealth(0.05, horizon) <= 20 for horizon in (1, 8, 64, 256))


def test_fractional_differences_fall_back_to_the_unlimited_threshold() -> None:
    test = PairedTest(alpha=0.05, horizon=64).extend([1.0, 0.5])
    assert test.threshold == 20


@given(differences)
def test_one_more_win_never_weakens_the_evidence(seen: list[float]) -> None:
    before = PairedTest().extend(seen)
    after = PairedTest().extend([*seen, 1.0])
    assert after.e_value >= before.e_value


@given(differences)
def test_the_evidence_does_not_depend_on_the_order(seen: list[float]) -> None:
    in_order = PairedTest().extend(sorted(seen)).e_value
    assert PairedTest().extend(seen).e_value == pytest.approx(in_order)


@given(differences)
def test_a_margin_only_makes_showing_easier(seen: list[float]) -> None:
    strict = PairedTest(margin=0.0).extend(seen)
    lenient = PairedTest(margin=0.05).extend(seen)
    assert lenient.e_value >= strict.e_value


@given(differences.filter(lambda seen: len(seen) > 2))
def test_a_test_out_of_reach_is_never_rejected_later(seen: list[float]) -> None:
    test = PairedTest(horizon=len(seen))
    hopeless = False
    for index, difference in enumerate(seen):
        hopeless = hopeless or not test.within_reach(len(seen) - index)
        test.update(difference)
    assert not (hopeless and test.rejected)


def test_equal_answers_show_non_inferiority_after_enough_pairs_and_never_a_gain() -> None:
    equal = [0.0] * 100
    assert PairedTest(margin=0.05).extend(equal).rejected
    assert not PairedTest().extend(equal).rejected


@pytest.mark.parametrize(("alpha", "margin"), [(0.0, 0.0), (1.0, 0.0), (0.05, -0.1), (0.05, 1.0)])
def test_parameters_outside_their_range_are_named(alpha: float, margin: float) -> None:
    with pytest.raises(ValueError, match=r"not (0\.0|1\.0|-0\.1)"):
        PairedTest(alpha=alpha, margin=margin)


def test_a_difference_outside_the_range_is_refused() -> None:
    with pytest.raises(ValueError, match="not 2"):
        PairedTest().update(2.0)


def test_more_pairs_than_planned_are_refused() -> None:
    with pytest.raises(ValueError, match="planned for 1"):
        PairedTest(horizon=1).extend([1.0, 1.0])


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=24), st.sampled_from([0.0, 0.1]))
def test_the_p_value_is_at_most_alpha_exactly_when_the_test_rejects(
    seen: list[float], margin: float
) -> None:
    test = PairedTest(alpha=0.05, margin=margin, horizon=24).extend(seen)
    assert 0.0 <= test.p_value <= 1.0
    assert test.rejected == (test.p_value <= 0.05 + 1e-9)
