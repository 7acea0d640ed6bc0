"""The curve of an evolution: what was served after every step, drawn and on the page."""

from pathlib import Path
from typing import Any

import pytest

from agentevo.evaluation.comparison import Arm
from agentevo.evolution.curve import curve, draw_curve
from agentevo.evolution.page import render_page
from agentevo.evolution.report import EvolutionReport


def entry(number: int, decision: str, rate: float | None) -> dict[str, Any]:
    return {
        "round": number,
        "ability": "e",
        "decision": decision,
        "rate": rate,
        "pairs": 9,
        "mean_difference": 0.5,
        "p_value": 0.01,
        "worse": [],
        "verified": 4,
    }


def report(**changes: Any) -> EvolutionReport:
    weights = {
        "round": 3,
        "decision": "accepted",
        "adapter": "a1",
        "note": "",
        "criteria": {},
        "rates": {"candidate": 0.9, "incumbent": 0.95, "base": 0.05},
    }
    values: dict[str, Any] = {
        "id": "x",
        "status": "finished",
        "autonomy": "low",
        "decisions": {"recipe": "user", "objective": "user"},
        "environment": "e",
        "model": "m",
        "seed": 0,
        "recipe": {"name": "demo"},
        "objective": {"ability": "e"},
        "tasks": {"practice": 20, "gate": 20, "exam": 4},
        "rounds": (
            entry(1, "accepted", 0.5),
            entry(2, "refused", 0.2),
            entry(3, "unchanged", None),
        ),
        "weights": (weights,),
        "arms": (
            Arm("stateless", dict.fromkeys("abcd", False), 400, 80),
            Arm("memory", dict.fromkeys("abcd", True), 800, 80),
            Arm("memory_weights", dict.fromkeys("abcd", True), 400, 80),
        ),
    }
    return EvolutionReport(**values | changes)


def test_the_curve_shows_what_is_served_and_keeps_what_was_refused_apart() -> None:
    points = curve(report())
    assert [p.label for p in points] == ["base", "round 1", "round 2", "round 3", "in weights"]
    assert [p.rate for p in points] == [0.05, 0.5, 0.5, 0.5, 0.9]
    assert [p.tried for p in points] == [0.05, 0.5, 0.2, 0.5, 0.9]
    assert [p.accepted for p in points] == [True, True, False, False, True]
    assert points[1].interval[0] < 0.5 < points[1].interval[1]


def test_without_a_distillation_the_base_is_the_stateless_arm() -> None:
    assert [point.rate for point in curve(report(weights=()))][:2] == [0.0, 0.5]


def test_an_evolution_without_any_round_is_a_curve_of_one_point() -> None:
    assert len(curve(report(rounds=(), weights=(), arms=()))) == 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_picture_is_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"curve.{suffix}"
    draw_curve(report(), path)
    magic = {"png": b"\x89PNG", "svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(magic)


def test_the_page_draws_curve_arms_refusals_and_what_weights_save() -> None:
    page = render_page(report())
    assert page.count("<circle") == 5
    assert page.count("<path class='refused'") == 2
    assert page.count("<rect") == 3
    assert "<b>50%</b><span>prompt tokens saved by weights</span>" in page
    assert "<span class='refused'>refused</span>" in page


def test_a_page_names_what_got_worse_and_shortens_long_lists() -> None:
    harmed = [f"task{number}" for number in range(30)]
    compared = {
        "arm": "memory",
        "control": "stateless",
        "difference": 0.1,
        "interval": (0.0, 0.2),
        "p_value": 0.5,
        "normalised_gain": None,
        "harmed": harmed,
    }
    page = render_page(report(comparisons=(compared,)))
    assert "30: task0, task1" in page
    assert "and 18 more" in page
