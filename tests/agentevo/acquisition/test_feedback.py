"""Feedback says who judged, and a source without an opinion says so."""

from collections.abc import Iterator

import pytest

from agentevo.acquisition.feedback import (
    Critique,
    EnvironmentFeedback,
    ExactMatch,
    Execution,
    Judge,
)
from agentevo.recall import Outcome, Turn
from agentevo.stages import Solution
from agentevo_environments import Sandbox, Task, TaskId, provision
from agentevo_environments.sandboxes import make_sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with provision(make_sandbox("embedded")) as started:
        yield started


def solution(
    text: str, reference: str | float | None = None, outcome: Outcome | None = None
) -> Solution:
    data = {} if reference is None else {"reference": reference}
    return Solution(Task(TaskId("t"), "do it", data=data), text, outcome)


def episode(solved: bool, score: float) -> Outcome:
    turns = (Turn("run a", "error: no", True), Turn("run b", "ok", False))
    return Outcome("run", "run:t", "quirks", "t", "", "do it", turns, solved, score)


@pytest.mark.parametrize(
    ("solved", "score", "expected"), [(True, 0.9, 1.0), (False, 1.0, 0.999), (False, 0.3, 0.3)]
)
def test_an_unsolved_episode_never_has_the_full_score(
    solved: bool, score: float, expected: float
) -> None:
    feedback = EnvironmentFeedback().assess(solution("", outcome=episode(solved, score)))
    assert (feedback.score, feedback.text) == (expected, "error: no")


def test_what_the_environment_never_ran_has_no_credit() -> None:
    assert EnvironmentFeedback().assess(solution("x")).score == 0.0


@pytest.mark.parametrize(
    ("reference", "text", "score"),
    [
        ("Paris", " paris ", 1.0),
        ("42", "The answer is 42", 1.0),
        (1234.5, "so it is 1,234.5", 1.0),
        ("42", "41", 0.0),
        ("Paris", "London", 0.0),
        (None, "anything", None),
    ],
)
def test_a_match_compares_texts_and_last_numbers(
    reference: str | float | None, text: str, score: float | None
) -> None:
    assert ExactMatch().assess(solution(text, reference)).score == score


def test_an_execution_passes_or_reports_its_error(sandbox: Sandbox) -> None:
    assert Execution(sandbox).assess(solution("assert 1 + 1 == 2")).score == 1.0
    failed = Execution(sandbox).assess(solution("assert 1 + 1 == 3, 'sum'"))
    assert (failed.score, "AssertionError: sum" in failed.text) == (0.0, True)


@pytest.mark.parametrize(
    ("answer", "score"), [("Good.\nScore: 8", 0.8), ("score = 99", 1.0), ("I like it", None)]
)
def test_a_judge_without_a_mark_gives_no_score(answer: str, score: float | None) -> None:
    assert Judge(lambda prompt: answer).assess(solution("x")).score == score


def test_a_critique_comments_against_its_principle() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return " too long "

    feedback = Critique(ask, "Be short.").assess(solution("x"))
    assert (feedback.score, feedback.text) == (None, "too long")
    assert "Principle: Be short." in asked[0]
