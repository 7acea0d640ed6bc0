"""The encoding between solution and tests: plain values survive, everything else is stripped or refused."""

import collections
import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_environments.packs.code.inside import decode, encode

NO_CLASSES = {"__name__": "nobody"}

hashable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
        st.complex_numbers(allow_nan=False, allow_infinity=False),
        st.fractions(),
        st.decimals(allow_nan=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4)
    ),
    max_leaves=8,
)
plain = st.recursive(
    hashable,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.sets(hashable, max_size=4),
        st.dictionaries(hashable, inner, max_size=4),
    ),
    max_leaves=12,
)


def through(value: object) -> Any:
    return decode(json.loads(json.dumps(encode(value))), NO_CLASSES)


@settings(max_examples=60)
@given(plain)
def test_a_plain_value_arrives_as_it_was(value: object) -> None:
    arrived = through(value)
    assert arrived == value
    assert type(arrived) is type(value)
    assert json.dumps(encode(arrived)) == json.dumps(encode(value))


def test_numbers_keep_their_special_values() -> None:
    assert math.isnan(through(math.nan))
    assert through([math.inf, -0.0, range(1, 9, 3)]) == [math.inf, -0.0, range(1, 9, 3)]
    assert math.copysign(1, through(-0.0)) == -1


class Always(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Always("x"), "x"),
        (Colour.RED, 1),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Point(1, 2), (1, 2)),
        (Fraction(1, 3), Fraction(1, 3)),
        (Decimal("1.10"), Decimal("1.10")),
    ],
)
def test_a_subclass_arrives_as_the_plain_type_it_extends(value: object, arrives: object) -> None:
    arrived = through(value)
    assert type(arrived) is type(arrives)
    assert arrived == arrives
    assert arrived != "anything else"


def test_an_iterator_arrives_as_an_iterator_over_the_same_items() -> None:
    arrived = through(n * n for n in range(4))
    assert next(arrived) == 0
    assert list(arrived) == [1, 4, 9]


@pytest.mark.parametrize("value", [len, int, lambda: 0, object(), math, [print]], ids=repr)
def test_what_has_code_or_no_state_does_not_cross(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_cyclic_value_does_not_cross() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(TypeError, match="cyclic"):
        encode(cycle)


@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=9),
            st.sampled_from(["list", "object", "range"]),
        ),
        lambda inner: st.lists(inner, max_size=3),
    )
)
def test_any_json_decodes_to_plain_data_or_is_refused(data: object) -> None:
    try:
        value = decode(data, NO_CLASSES)
    except (TypeError, ValueError, ArithmeticError):
        return
    assert type(value).__module__ in {"builtins", "decimal", "fractions"}


def test_an_object_is_rebuilt_only_from_a_class_the_receiver_wrote() -> None:
    class Own:
        pass

    Own.__module__ = "mine"
    classes = {"__name__": "mine", "Own": Own, "Counter": collections.Counter}
    assert vars(decode(["object", "Own", ["dict", [["x", 1]]]], classes)) == {"x": 1}
    for name in ("Counter", "Nobody"):
        with pytest.raises(TypeError, match="no class"):
            decode(["object", name, ["dict", []]], classes)
