import math

from hypothesis import assume, given
from hypothesis import strategies as st

from agentevo_memory.record import Record
from agentevo_memory.retention import (
    DAY_S,
    STRENGTH_MAX,
    STRENGTH_MIN,
    reinforced,
    retention,
    retention_of,
    strengthened,
    weakened,
)

ages = st.floats(0, 1e10)
strengths = st.floats(STRENGTH_MIN, STRENGTH_MAX)


@given(ages, ages, strengths)
def test_retention_falls_with_time(first: float, second: float, strength: float) -> None:
    young, old = sorted((first, second))
    assert retention(old, strength, DAY_S) <= retention(young, strength, DAY_S)


@given(ages, strengths, strengths)
def test_retention_rises_with_strength(age: float, first: float, second: float) -> None:
    weak, strong = sorted((first, second))
    assert retention(age, weak, DAY_S) <= retention(age, strong, DAY_S)


@given(st.floats(1, 1e6), strengths)
def test_retention_strictly_falls_where_numbers_allow(age: float, strength: float) -> None:
    later = retention(age * 2, strength, DAY_S)
    assume(later > 1e-300)
    assert later < retention(age, strength, DAY_S) < 1


def test_the_curve_is_the_one_of_the_paper_and_not_its_inverse() -> None:
    assert retention(DAY_S, 1, DAY_S) == math.exp(-1)
    assert retention(DAY_S, 5, DAY_S) == math.exp(-0.2)


def record(**fields: object) -> Record:
    return Record(id="r", text="x", **fields)  # type: ignore[arg-type]


@given(strengths, ages)
def test_helping_never_weakens_and_harming_never_strengthens(strength: float, age: float) -> None:
    one = record(strength=strength)
    assert strengthened(one, age) >= strength
    assert reinforced(one, age) >= strengthened(one, age)
    assert STRENGTH_MIN <= weakened(one) <= strength


def test_a_clock_that_went_backwards_counts_as_no_time() -> None:
    assert retention_of(record(created_at=1_000.0), now_s=5.0) == 1


def test_pinned_records_do_not_fade() -> None:
    assert retention_of(record(pinned=True), now_s=1e12) == 1
