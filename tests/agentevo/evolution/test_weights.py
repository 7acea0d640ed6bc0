"""Rules become weights: judged without the rules in the prompt, served only if nothing got worse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.evolution import EvolutionReport, command_distillation, evolve
from agentevo.evolution.parts import Parts
from agentevo.generations import GenerationLog
from agentevo.objective import Objective
from agentevo_memory import VectorMemory

QUIRKS = Objective("quirks")
pytestmark = pytest.mark.slow


@pytest.fixture
def home_of_two(
    make_settings: Callable[..., Settings], two_worlds: Any, tmp_path: Path
) -> Settings:
    return make_settings(tmp_path / "home", **two_worlds)


def statuses(home: Path) -> dict[str, set[str]]:
    with VectorMemory(home / "memory", embedder="hashing") as memory:
        found: dict[str, set[str]] = {}
        for record in memory.records():
            if record.kind == "rule":
                found.setdefault(record.status, set()).add(record.id)
        return found


@pytest.fixture
def learn(
    home_of_two: Settings, believer: Any, text_distiller: Any, weighing: Any
) -> Callable[..., Any]:
    def run(spoil: str = "", **in_weight: Any) -> EvolutionReport:
        model = believer()
        distiller = text_distiller(home_of_two.home, model, spoil)
        parts = Parts(model, "hashing", distiller)
        return evolve(home_of_two, objective=QUIRKS, recipe=weighing(**in_weight), parts=parts)

    return run


def test_an_accepted_adapter_is_served_and_its_rules_leave_the_prompt(
    learn: Callable[..., EvolutionReport], home_of_two: Settings, text_distiller: Any
) -> None:
    report = learn()
    (weights,) = report.weights
    assert weights["decision"] == "accepted", weights
    assert set(weights["criteria"]) == {"gain", "success", "tokens", "leak"}
    distiller = text_distiller(home_of_two.home, None)
    assert report.adapter == distiller.active_id == weights["adapter"]
    assert statuses(home_of_two.home)["distilled"] == set(distiller.holds(report.adapter))
    log = GenerationLog(home_of_two.home / "generations.sqlite")
    log.verify()
    assert log.get("served").adapter_id == report.adapter
    arms = {arm.name: arm for arm in report.arms}
    assert arms["memory_weights"].rate >= arms["memory"].rate - 0.1
    assert arms["memory_weights"].input_tokens < 0.9 * arms["memory"].input_tokens
    assert [row["kind"] for row in report.retention["rows"]][-1] == "weights"
    assert report.elsewhere["questions"] > 0
    assert report.elsewhere["adapter"] == report.elsewhere["base"] == 1.0
    assert report.elsewhere["lost"] == []
    assert set(report.retention["abilities"]) > {"quirks"}
    pairs = {(entry["arm"], entry["control"]) for entry in report.comparisons}
    controls = ("stateless", "history", "best_of_n")
    assert pairs == {
        *(("memory", control) for control in controls),
        *(("memory_weights", control) for control in (*controls, "memory")),
    }


def test_a_refused_adapter_is_never_served(
    learn: Callable[..., EvolutionReport], home_of_two: Settings
) -> None:
    report = learn(spoil="In Besa move is wrong")
    (weights,) = report.weights
    assert (weights["decision"], report.adapter, report.elsewhere) == ("refused", None, {})
    assert weights["criteria"]["gain"]["shown"] is False
    assert "distilled" not in statuses(home_of_two.home)
    log = GenerationLog(home_of_two.home / "generations.sqlite")
    assert all(log.get(entry.generation_id).adapter_id is None for entry in log.entries("served"))
    assert [arm.name for arm in report.arms][-1] == "memory"


def test_weights_that_leak_into_other_worlds_are_refused(
    learn: Callable[..., EvolutionReport],
) -> None:
    spoil = "\n".join(
        f"In Nowhere{i} key obj is wrong\nIn Nowhere{i} obj is wrong" for i in range(40)
    )
    report = learn(spoil=spoil)
    assert report.weights[0]["decision"] == "refused"


def test_controls_are_done_beside_a_distillation_as_far_as_learning_has_paid_for_them(
    home_of_two: Settings, believer: Any, text_distiller: Any, weighing: Any
) -> None:
    done: list[str] = []

    def look(event: Any) -> None:
        if event["type"] == "agentevo.distillation_finished":
            runs = home_of_two.home.glob("evolutions/*/runs/exam-*/report.json")
            done.extend(sorted(path.parent.name for path in runs))

    model = believer()
    parts = Parts(model, "hashing", text_distiller(home_of_two.home, model), on_event=look)
    report = evolve(home_of_two, objective=QUIRKS, recipe=weighing(), parts=parts)
    assert done == ["exam-best2", "exam-stateless"]
    best = next(arm for arm in report.arms if arm.name == "best_of_n")
    assert best.note.startswith("2 attempts")
    exam = [path.name for path in home_of_two.home.glob("evolutions/*/runs/exam-best*")]
    assert exam == ["exam-best2"]


def test_rules_are_distilled_once_enough_of_them_are_new(
    learn: Callable[..., EvolutionReport],
) -> None:
    assert learn(when="rules", every=500).weights == ()


def test_rules_are_distilled_on_command(
    learn: Callable[..., EvolutionReport],
    home_of_two: Settings,
    believer: Any,
    text_distiller: Any,
    weighing: Any,
) -> None:
    def obey(event: Any) -> None:
        if event["type"] == "agentevo.practised" and event["iteration"] == 1:
            command_distillation(home_of_two.home, "last")

    model = believer()
    parts = Parts(model, "hashing", text_distiller(home_of_two.home, model), on_event=obey)
    recipe = weighing(when="command")
    report = evolve(home_of_two, objective=QUIRKS, recipe=recipe, parts=parts)
    assert len(report.weights) == 1, "a command is obeyed once, as soon as there are rules"
