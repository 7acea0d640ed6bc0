"""Refiners keep what is worth learning, say why they drop the rest, and stop when they do harm."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.objective import Objective
from agentevo.refinement.correctors import Chain, FlipMatrix, Retry, Revise
from agentevo.refinement.filters import FILTERS, MajorityVote, Pairs, Threshold
from agentevo.stages import NO_CHANGES, Experience, Feedback, Round, Solution
from agentevo_environments.task import Task, TaskId

NOW = Round(1, Objective("code"), seed=0)


def attempt(text: str, score: float, task: str = "t") -> Experience:
    solution = Solution(Task(TaskId(task), f"do {task}"), text)
    return Experience(solution, (Feedback("environment", score),))


class Truth:
    """A judge that knows: right answers are 'right'."""

    def assess(self, solution: Solution) -> Feedback:
        return Feedback("match", float(solution.text == "right"))


class Critic:
    def __init__(self, text: str) -> None:
        self.text = text

    def assess(self, solution: Solution) -> Feedback:
        return Feedback("critique", None, self.text)


attempts = st.lists(
    st.builds(
        attempt,
        st.sampled_from(["a", "b", "c"]),
        st.floats(0, 1),
        st.sampled_from(["t1", "t2"]),
    ),
    max_size=12,
)


@pytest.mark.parametrize("name", FILTERS)
@given(experiences=attempts)
def test_a_filter_neither_invents_nor_loses_an_attempt(
    name: str, experiences: list[Experience]
) -> None:
    refined = FILTERS[name]().refine(experiences, NOW)
    solutions = [entry.solution for entry in refined.kept]
    solutions += [entry.rejected for entry in refined.kept if entry.rejected is not None]
    solutions += [drop.experience.solution for drop in refined.dropped]
    assert sorted(map(str, solutions)) == sorted(str(entry.solution) for entry in experiences)
    assert all(drop.reason for drop in refined.dropped)


def test_the_environment_counts_before_a_judge_that_flatters() -> None:
    flattered = Experience(
        Solution(Task(TaskId("t"), "do"), "x"),
        (Feedback("judge", 1.0), Feedback("environment", 0.0)),
    )
    assert Threshold().refine([flattered], NOW).kept == ()


def test_the_majority_wins_and_a_split_vote_keeps_nothing() -> None:
    votes = [attempt("a", 0), attempt("B", 0), attempt("b ", 0)]
    [kept] = MajorityVote(0.6).refine(votes, NOW).kept
    assert kept.solution.text == "B"
    assert MajorityVote(0.7).refine(votes, NOW).kept == ()


def test_pairs_contrast_the_best_with_the_worst() -> None:
    [pair] = Pairs().refine([attempt("a", 0.2), attempt("b", 0.9), attempt("c", 0.5)], NOW).kept
    assert pair.rejected is not None
    assert (pair.solution.text, pair.rejected.text) == ("b", "a")


def test_a_revision_repairs_and_is_counted() -> None:
    refiner = Revise(lambda prompt: "right", Critic("it is wrong"), Truth(), rounds=1)
    [kept] = refiner.refine([attempt("wrong", 0.0)], NOW).kept
    assert (kept.solution.text, kept.solution.revised_from) == ("right", "wrong")
    assert (kept.solved, refiner.flips.repaired) == (True, 1)


def test_a_content_critic_changes_nothing() -> None:
    refiner = Revise(lambda prompt: "worse", Critic(NO_CHANGES), Truth())
    entry = attempt("right", 1.0)
    assert refiner.refine([entry], NOW).kept == (entry,)


def test_a_critic_that_damages_right_answers_is_switched_off() -> None:
    refiner = Revise(lambda prompt: "broken", Critic("I do not like it"), Truth(), rounds=1)
    kept = refiner.refine([attempt("right", 1.0) for _ in range(20)], NOW).kept
    assert refiner.flips.harmful
    assert sum(entry.solved for entry in kept) == 20 - refiner.flips.broken
    assert refiner.flips.broken < 10


def test_a_retry_that_succeeds_keeps_the_failure_as_contrast() -> None:
    def again(entry: Experience) -> Solution:
        return Solution(entry.task, "right", revised_from=entry.solution.text)

    refiner = Retry(again, Truth())
    solved, kept = refiner.refine([attempt("right", 1.0), attempt("wrong", 0.0)], NOW).kept
    assert solved.rejected is None
    assert kept.rejected is not None
    assert (kept.solution.text, kept.rejected.text) == ("right", "wrong")


def test_a_chain_passes_on_what_is_kept_and_collects_what_is_dropped() -> None:
    entries: Sequence[Experience] = [attempt("a", 1.0), attempt("a", 1.0), attempt("b", 0.0)]
    chain = Chain((Threshold().refine, MajorityVote().refine))
    refined = chain.refine(entries, NOW)
    assert (len(refined.kept), len(refined.dropped)) == (1, 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_a_corrector_that_repairs_more_than_it_breaks_stays_on(
    flips: list[tuple[bool, bool]],
) -> None:
    matrix = FlipMatrix()
    for before, after in flips:
        matrix.count(before, after)
    if matrix.repaired > matrix.broken:
        assert not matrix.harmful
    assert matrix.repaired + matrix.broken + matrix.unchanged == len(flips)
