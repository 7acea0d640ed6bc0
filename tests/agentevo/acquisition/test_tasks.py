"""Task strategies choose reproducibly and invent only what is new."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.acquisition.tasks import (
    OPERATORS,
    SELECTIVE,
    Diverse,
    Failed,
    Rewrite,
    SelfInstruct,
    Split,
)
from agentevo.objective import Objective
from agentevo.stages import Round
from agentevo_environments.task import Task, TaskId

POOL = [
    Task(TaskId(f"t{i}"), f"Write the function number {i}.", scope=f"s{i % 2}") for i in range(9)
]
NOW = Round(1, Objective("code"), seed=7)


def embed(texts: Sequence[str]) -> np.ndarray:
    angles = [int(text.split()[-1].rstrip(".")) * 0.3 for text in texts]
    return np.array([[np.cos(a), np.sin(a)] for a in angles])


@pytest.mark.parametrize("name", SELECTIVE)
@given(n=st.integers(1, 20), seed=st.integers(0, 50), number=st.integers(1, 9))
def test_a_selective_strategy_returns_distinct_tasks_of_the_pool_and_repeats_itself(
    name: str, n: int, seed: int, number: int
) -> None:
    now = Round(number, Objective("code"), seed)
    chosen = SELECTIVE[name]().evolve(POOL, n, now)
    assert len({task.id for task in chosen}) == len(chosen) == min(n, len(POOL))
    assert all(task in POOL for task in chosen)
    assert list(SELECTIVE[name]().evolve(POOL, n, now)) == list(chosen)


def test_split_goes_through_the_whole_pool_and_starts_over() -> None:
    rounds = [Split().evolve(POOL, 4, Round(t, Objective("code"), 0)) for t in (1, 2, 3)]
    ids = [task.id for chunk in rounds for task in chunk]
    assert ids == [f"t{i % 9}" for i in range(12)]


def test_failed_takes_failures_then_new_tasks_then_solved_ones() -> None:
    history = {"t0": 1.0, "t1": 0.0, "t2": 1.0}
    chosen = Failed().evolve(POOL, 9, Round(1, Objective("code"), 0, history))
    assert chosen[0].id == "t1"
    assert {chosen[-1].id, chosen[-2].id} == {"t0", "t2"}


def test_diverse_tasks_lie_further_apart_than_the_first_ones() -> None:
    def spread(tasks: Sequence[Task]) -> float:
        vectors = embed([task.prompt for task in tasks])
        similar = vectors @ vectors.T
        return float(1 - similar[~np.eye(len(tasks), dtype=bool)].max())

    assert spread(Diverse(embed).evolve(POOL, 3, NOW)) > spread(POOL[:3])
    assert len(Diverse(embed).evolve(POOL, 20, NOW)) == len(POOL)


def test_self_instruct_keeps_new_texts_only() -> None:
    answer = (
        "Sure!\n7. Write the function number 3.\n8. Sort a list of words.\n9) Short\n"
        "10. sort a list of words\n11. Reverse a linked list."
    )
    made = SelfInstruct(lambda prompt: answer).evolve(POOL, 5, NOW)
    assert [task.prompt for task in made] == ["Sort a list of words.", "Reverse a linked list."]
    assert {task.scope for task in made} <= {"s0", "s1"}
    assert len({task.id for task in made}) == 2


def test_rewrite_uses_its_operators_in_turn_and_drops_what_did_not_change() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return prompt.splitlines()[-1] + (" Use recursion." if len(asked) % 2 else "")

    made = Rewrite(ask, ("deepen", "rephrase")).evolve(POOL, 4, NOW)
    assert [OPERATORS["deepen"] in prompt for prompt in asked] == [True, False, True, False]
    assert all(task.prompt.endswith("Use recursion.") for task in made)
    assert len(made) == 2
