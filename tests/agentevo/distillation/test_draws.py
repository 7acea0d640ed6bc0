"""Rows are drawn by kind, the more often the less they are learnt, none never."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.distillation.draws import Draws

LOSSES = st.lists(st.floats(-1e-3, 1e3), min_size=1, max_size=8)
MANY = 20_000


def shares(draws: Draws) -> dict[int, float]:
    counts = Counter(draws.draw("target", MANY, Random(0)))
    return {row: count / MANY for row, count in counts.items()}


@given(losses=LOSSES, count=st.integers(0, 20))
def test_only_rows_of_the_kind_come_as_many_as_asked(losses: list[float], count: int) -> None:
    rows = range(len(losses))
    draws = Draws({"target": rows, "scope": [99]}, dict(zip(rows, losses, strict=True)))
    drawn = draws.draw("target", count, Random(1))
    assert len(drawn) == count
    assert set(drawn) <= set(rows)


def test_a_kind_without_rows_gives_none() -> None:
    assert Draws({"target": [0]}).draw("scope", 3, Random(0)) == []


def test_before_anything_is_known_all_rows_come_alike() -> None:
    assert shares(Draws({"target": range(4)})) == pytest.approx(
        dict.fromkeys(range(4), 0.25), abs=0.02
    )


def test_half_of_the_draws_go_where_the_loss_is() -> None:
    draws = Draws({"target": range(4)})
    draws.learn([0, 1, 2, 3], [0.0, 0.0, 0.0, 8.0])
    assert shares(draws) == pytest.approx({0: 0.125, 1: 0.125, 2: 0.125, 3: 0.625}, abs=0.02)


def test_a_row_never_drawn_counts_as_the_worst() -> None:
    draws = Draws({"target": range(3)}, {0: 0.0, 1: 6.0})
    assert shares(draws) == pytest.approx({0: 1 / 6, 1: 5 / 12, 2: 5 / 12}, abs=0.02)


def test_what_was_learnt_comes_less() -> None:
    draws = Draws({"target": range(2)}, {0: 1.0, 1: 1.0})
    before = shares(draws)[0]
    draws.learn([0], [0.0])
    assert shares(draws)[0] < before
