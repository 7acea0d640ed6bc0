"""What is not given is decided: at every level of autonomy an evolution runs to its report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.evolution import EvolutionReport, evolve
from agentevo.evolution.parts import Parts
from agentevo.objective import Objective

LEVELS = ("low", "medium", "high")
pytestmark = pytest.mark.slow


def given(level: str, environment: str) -> Mapping[str, Any]:
    """What a user gives at a level: objective and recipe, the objective only, nothing."""
    if level == "high":
        return {}
    recipe = {"recipe": "default"} if level == "low" else {}
    return {"objective": Objective(environment), **recipe}


def check(report: EvolutionReport, level: str, *, by_default: str) -> None:
    assert (report.status, report.autonomy) == ("finished", level)
    user = {"low": {"recipe", "objective"}, "medium": {"objective"}, "high": set()}[level]
    for matter, reason in report.decisions.items():
        assert reason.startswith("user" if matter in user else by_default), (matter, reason)


@pytest.mark.model
@pytest.mark.parametrize("level", LEVELS)
def test_the_seed_model_evolves_on_quirks(level: str, tmp_path: Path) -> None:
    options = {"tasks_per_world": 24, "quirks_per_world": 3, "most_per_task": 1, "attempts": 1}
    settings = Settings.model_validate(
        {
            "home": tmp_path,
            "env": {"name": "quirks", "n": 24, "options": options},
            "model": {"spec": "seed", "max_tokens": 64},
            "memory": {"notes": 0},
            "run": {"durability": "exit", "synchronous": "NORMAL"},
        }
    )
    parts = Parts(embedder="hashing")
    report = evolve(settings, rounds=1, parts=parts, **given(level, "quirks"))
    check(report, level, by_default="default: the model's proposal was refused")
    arms = {arm.name: arm.rate for arm in report.arms}
    assert report.rounds[0]["verified"] > 0
    assert arms["memory"] > arms["stateless"]


@pytest.mark.parametrize("level", LEVELS)
def test_known_solutions_evolve_on_code(level: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"home": tmp_path, "env": {"name": "code"}, "model": {"spec": "scripted:oracle"}}
    )
    report = evolve(settings, rounds=1, parts=Parts(embedder="hashing"), **given(level, "code"))
    check(report, level, by_default="default: the model answers no questions")
    assert [arm.rate for arm in report.arms] == [1.0] * 4
    assert report.comparisons[0]["normalised_gain"] is None
