"""A budget of episodes limits the rounds before anything is started."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.errors import ConfigError
from agentevo.evolution.budget import affordable_rounds
from agentevo.recipes import Recipe, load_recipe
from agentevo_environments import Task, TaskId

TASKS = [Task(TaskId(f"t{i}"), f"do {i}") for i in range(40)]


def rounds(recipe: Recipe, budget: int | None, wanted: int = 9) -> int:
    return affordable_rounds(recipe, TASKS, 0, rounds=wanted, budget=budget)


def test_without_a_budget_all_rounds_are_done() -> None:
    assert rounds(load_recipe("default"), None) == 9
    assert affordable_rounds(load_recipe("default"), TASKS, 0, rounds=None, budget=None) == 3


@given(st.integers(0, 2000))
def test_a_larger_budget_never_buys_fewer_rounds(budget: int) -> None:
    for recipe in (load_recipe("default"), load_recipe("distil")):
        try:
            bought = rounds(recipe, budget)
        except ConfigError:
            assert budget < 200
            continue
        assert 1 <= bought <= rounds(recipe, budget + 50) <= 9


def test_distillations_are_paid_for() -> None:
    with pytest.raises(ConfigError, match=r"20 attempts .*, 68 for a distillation"):
        rounds(load_recipe("distil"), 80)
    assert rounds(load_recipe("default"), 260) == 4
    assert rounds(load_recipe("distil"), 260) == 3
