"""Failures are told apart by where and how they ended; a judge who errs is found out."""

from collections.abc import Sequence

import pytest

from agentevo.evaluation.diagnosis import NO_ACTION, NO_ERROR, diagnose
from agentevo.evaluation.guards import Agreement
from agentevo.recall import Outcome, Turn
from agentevo.stages import Experience, Feedback, Solution
from agentevo_environments import Task, TaskId


def outcome(name: str, *turns: Turn, scope: str = "Moki", solved: bool = False) -> Outcome:
    return Outcome("r", f"r:{name}", "quirks", name, scope, "do", turns, solved, float(solved))


def failed(text: str) -> Turn:
    return Turn("run", text, error=True)


def test_failures_of_the_same_kind_and_scope_are_one_cluster() -> None:
    found = diagnose(
        [
            outcome("a", failed("error: In Moki move takes 3")),
            outcome("b", failed("error: In Moki move takes 17")),
            outcome("c", failed("error: In Besa move takes 3"), scope="Besa"),
            outcome("d"),
            outcome("e", Turn("run", "ok", error=False)),
            outcome("f", failed("error"), solved=True),
        ]
    )
    assert found[0].tasks == ("a", "b")
    assert str(found[0]) == "2 failed in Moki: error: In * move takes #"
    assert {cluster.kind for cluster in found[1:]} == {
        "error: In * move takes #",
        NO_ACTION,
        NO_ERROR,
    }


def test_only_the_last_error_names_the_cause() -> None:
    (cluster,) = diagnose([outcome("a", failed("first"), failed("second"))])
    assert cluster.kind == "second"


def judged(marks: Sequence[tuple[float, float | None]], *, ran: bool = True) -> list[Experience]:
    done = outcome("a") if ran else None
    return [
        Experience(
            Solution(Task(TaskId("a"), "do"), "", done),
            (Feedback("environment", truth), Feedback("judge", mark)),
        )
        for truth, mark in marks
    ]


def test_a_judge_that_disagrees_too_often_is_found_out() -> None:
    right = Agreement().with_all(judged([(1.0, 0.9), (0.0, 0.1)] * 5))
    assert (right.share, right.too_low(0.6)) == (1.0, False)
    wrong = right.with_all(judged([(0.0, 0.9)] * 10))
    assert (wrong.share, wrong.too_low(0.6)) == (0.5, True)


@pytest.mark.parametrize("unseen", [judged([(0.0, 1.0)] * 9), judged([(0.0, 1.0)] * 20, ran=False)])
def test_a_judge_is_not_blamed_before_there_is_evidence(unseen: list[Experience]) -> None:
    assert not Agreement().with_all(unseen).too_low(0.6)


def test_marks_that_were_not_given_do_not_count() -> None:
    assert Agreement().with_all(judged([(1.0, None)] * 20)).judged == 0
