"""Held-out tasks stay apart, verdicts cost no more than needed, arms are compared pair by pair."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.errors import ConfigError
from agentevo.evaluation.comparison import Arm, compare, mcnemar
from agentevo.evaluation.guards import distinct_pairs, keep_real, leaked
from agentevo.evaluation.splits import split_tasks
from agentevo.evaluation.verdict import BLOCK, GateSettings, fewest_pairs, judge
from agentevo_environments import Task, TaskId


def tasks_in(*sizes: int) -> list[Task]:
    return [
        Task(TaskId(f"{scope}/{i}"), f"do {scope} {i}", scope=f"s{scope}")
        for scope, size in enumerate(sizes)
        for i in range(size)
    ]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 5))
def test_splits_are_disjoint_complete_and_hold_out_their_shares(
    sizes: list[int], seed: int
) -> None:
    tasks = tasks_in(*sizes)
    try:
        split = split_tasks(tasks, gate_share=0.3, exam_share=0.2, seed=seed)
    except ConfigError:
        assert len(tasks) < 12
        return
    parts = (split.practice, split.gate, split.exam)
    assert sorted(task.id for part in parts for task in part) == sorted(t.id for t in tasks)
    assert abs(len(split.gate) - 0.3 * len(tasks)) <= 2
    assert abs(len(split.exam) - 0.2 * len(tasks)) <= 2


@given(st.lists(st.integers(0, 5), min_size=12, max_size=40), st.integers(0, 5))
def test_tasks_that_read_the_same_are_never_in_two_parts(words: list[int], seed: int) -> None:
    tasks = [Task(TaskId(f"t{i}"), f"do  {word}", scope="s") for i, word in enumerate(words)]
    try:
        split = split_tasks(tasks, gate_share=0.3, exam_share=0.2, seed=seed)
    except ConfigError:
        return
    seen = [{t.prompt for t in part} for part in (split.practice, split.gate, split.exam)]
    assert sum(map(len, seen)) == len(set().union(*seen)) == len(set(words))
    assert len(split.gate) <= 0.3 * len(tasks)


def test_every_scope_with_enough_tasks_is_in_all_splits() -> None:
    split = split_tasks(tasks_in(10, 10, 10), gate_share=0.3, exam_share=0.2, seed=1)
    for part in (split.practice, split.gate, split.exam):
        assert {task.scope for task in part} == {"s0", "s1", "s2"}


def test_too_few_tasks_to_hold_out_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"for the gate and 0 for the exam.*raise env\.n"):
        split_tasks(tasks_in(3), gate_share=0.3, exam_share=0.2, seed=0)


def blocks(scores: Mapping[str, float], log: list[int]) -> object:
    def measure(tasks: Sequence[str], number: int) -> Mapping[str, float]:
        log.append(number)
        return {task: scores[task] for task in tasks}

    return measure


NAMES = [f"t{i}" for i in range(40)]


def test_a_clear_gain_is_accepted_after_few_pairs() -> None:
    log: list[int] = []
    verdict = judge(NAMES, dict.fromkeys(NAMES, 1.0), blocks(dict.fromkeys(NAMES, 0.0), log))  # type: ignore[arg-type]
    assert verdict.accepted
    assert verdict.evidence[0].pairs <= 2 * BLOCK
    assert len(log) <= 2, "the incumbent is measured block by block, as far as needed"


def test_a_candidate_that_changes_nothing_is_refused() -> None:
    same = dict.fromkeys(NAMES, 1.0)
    assert not judge(NAMES, same, blocks(same, [])).accepted  # type: ignore[arg-type]


def test_a_gain_that_costs_what_was_solved_is_refused() -> None:
    solved, unsolved = NAMES[:25], NAMES[25:]
    before = {name: float(name in solved) for name in NAMES}
    after = {name: float(name in unsolved or name in solved[:12]) for name in NAMES}
    many = [*NAMES, *(f"u{i}" for i in range(60))]
    before |= dict.fromkeys(many[40:], 0.0)
    after |= dict.fromkeys(many[40:], 1.0)
    verdict = judge(
        many,
        after,
        blocks(before, []),  # type: ignore[arg-type]
        protected=solved,
        settings=GateSettings(pairs=100),
    )
    assert [entry.criterion.name for entry in verdict.evidence] == ["gain", "retention"]
    assert (verdict.accepted, verdict.evidence[1].shown) == (False, False)
    assert set(verdict.evidence[1].worse) <= set(solved[12:])


def test_retention_is_asked_for_only_where_it_can_be_shown() -> None:
    needed = fewest_pairs(0.05, 0.2, 64)
    assert needed is not None
    assert 10 < needed < 30
    assert fewest_pairs(0.05, 0.01, 20) is None


def arm(name: str, solved: str) -> Arm:
    return Arm(name, {str(i): flag == "1" for i, flag in enumerate(solved)}, 10, 5, 1.0)


def test_arms_are_compared_pair_by_pair() -> None:
    found = compare(arm("memory", "11111110"), arm("stateless", "00000001"))
    assert found.difference == pytest.approx(0.75)
    assert found.normalised_gain == pytest.approx(0.75 / 0.875)
    assert (found.harmed, len(found.helped)) == (("7",), 7)
    assert found.p_value == pytest.approx(0.0703, abs=1e-3)
    assert found.interval[0] < 0.75 < found.interval[1]
    assert Arm.from_json(arm("a", "10").to_json()) == arm("a", "10")


def test_nothing_left_to_gain_has_no_normalised_gain() -> None:
    assert compare(arm("a", "11"), arm("b", "11")).normalised_gain is None


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_paired_p_is_symmetric_and_a_probability(won: int, lost: int) -> None:
    assert mcnemar(won, lost) == mcnemar(lost, won)
    assert 0.0 < mcnemar(won, lost) <= 1.0


def test_a_held_out_prompt_in_memory_is_a_leak() -> None:
    secret = Task(TaskId("x"), "In Moki: move the red box to the shelf.")
    other = Task(TaskId("y"), "In Moki: lift the cup.")
    texts = {"a": "Task: in moki, move the RED box to the shelf! solved", "b": "move is zabo"}
    assert leaked([secret, other], texts) == {"x": ("a",)}
    long = Task(TaskId("z"), " ".join(f"word{i}" for i in range(40)))
    assert leaked([long], {"c": " ".join(f"word{i}" for i in range(20, 35))}) == {"z": ("c",)}
    assert leaked([long], {"c": " ".join(f"word{i}" for i in range(20, 30))}) == {}


def test_uniform_attempts_are_told_from_different_ones() -> None:
    assert distinct_pairs(["say the same thing"] * 50) < 0.05
    assert distinct_pairs(["one two three", "four five six"]) == 1.0
    assert distinct_pairs([]) == 1.0


@given(st.integers(0, 8), st.integers(0, 8), st.floats(0, 1))
def test_invented_tasks_never_push_out_the_real_ones(
    real: int, invented: int, share: float
) -> None:
    pool = tasks_in(8)
    made = [Task(TaskId(f"new{i}"), "new") for i in range(invented)]
    kept = keep_real([*made, *pool[:real]], pool, least_share=share, n=10)
    own = sum(task.scope != "" for task in kept)
    assert len(kept) <= 10
    assert not kept or own >= share * len(kept) - 1e-9
    assert len({task.id for task in kept}) == len(kept)
