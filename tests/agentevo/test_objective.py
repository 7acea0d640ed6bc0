"""Objectives are trees; the largest deficit comes first and no parent hides a fallen leaf."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.objective import Objective, ObjectiveError, deficits, improved, next_objective

TOOL_USE = Objective(
    "tool use",
    children=(
        Objective("planning", target=0.9),
        Objective("creation", weight=2.0, children=(Objective("write"), Objective("repair"))),
        Objective("usage", target=0.5),
    ),
)
SCORES = {"planning": 0.6, "write": 0.9, "repair": 0.1, "usage": 0.7}


def test_the_two_weakest_leaves_come_first_in_order_of_their_deficit() -> None:
    assert [leaf.ability for leaf, _ in deficits(TOOL_USE, SCORES)] == [
        "repair",
        "planning",
        "write",
    ]


def test_a_met_objective_is_not_scheduled() -> None:
    assert next_objective(Objective("a", target=0.5), {"a": 0.5}) is None


def test_a_parent_is_not_improved_when_a_leaf_fell() -> None:
    better = SCORES | {"repair": 0.9}
    assert improved(TOOL_USE, SCORES, better)
    assert not improved(TOOL_USE, SCORES, better | {"usage": 0.6})
    assert improved(TOOL_USE, SCORES, better | {"usage": 0.69}, tolerance=0.02)


def test_a_leaf_that_nothing_measures_is_named() -> None:
    with pytest.raises(ObjectiveError, match="no environment measures 'write'"):
        TOOL_USE.score({"planning": 1.0})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ability": ""}, "needs an ability"),
        ({"ability": "a", "direction": "win"}, "unknown direction 'win'"),
        ({"ability": "a", "target": 1.5}, r"1\.5, not in \[0, 1\]"),
        ({"ability": "a", "weight": 0.0}, "not above 0"),
        ({"ability": "a", "children": (Objective("b"), Objective("b"))}, "twice in one tree: b"),
    ],
)
def test_a_malformed_objective_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        Objective(**fields)  # type: ignore[arg-type]


scores = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(scores, scores, st.floats(0.1, 5)), min_size=1, max_size=6))
def test_a_score_lies_between_the_scores_of_its_leaves(
    leaves: list[tuple[float, float, float]],
) -> None:
    tree = Objective(
        "all",
        children=tuple(
            Objective(str(i), target=target, weight=weight)
            for i, (_, target, weight) in enumerate(leaves)
        ),
    )
    measured = {str(i): score for i, (score, _, _) in enumerate(leaves)}
    assert min(measured.values()) - 1e-9 <= tree.score(measured) <= max(measured.values()) + 1e-9
    met = all(score >= target for score, target, _ in leaves)
    assert (next_objective(tree, measured) is None) == met
