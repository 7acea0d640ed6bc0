"""One call evolves: memory visibly raises success, every change is judged, nothing leaks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from agentevo.acquisition.run_agent import StopRequest
from agentevo.config import Settings
from agentevo.errors import ConfigError, RunError, RunInUseError
from agentevo.events import Event
from agentevo.evolution import evolve, list_evolutions, open_evolution, resume_evolution
from agentevo.evolution.parts import Parts
from agentevo.generations import GenerationLog
from agentevo.graph.assembly import FEEDBACK, REFINEMENT, TASKS
from agentevo.models.scripted import ScriptedModel
from agentevo.objective import Objective, ObjectiveError
from agentevo.recipes import Recipe, load_recipe, shipped_recipes
from agentevo.recipes.recipe import STRATEGIES
from agentevo.runs.lock import RunLock
from agentevo_memory import Draft, VectorMemory

QUIRKS = Objective("quirks")
pytestmark = pytest.mark.slow


@pytest.fixture
def parts(believer: Any) -> Parts:
    return Parts(model=believer(), embedder="hashing")


def rules_in(home: Path) -> set[str]:
    with VectorMemory(home / "memory", embedder="hashing") as memory:
        return {r.text for r in memory.records() if r.kind == "rule" and r.may_instruct}


def test_every_name_of_a_recipe_has_a_strategy() -> None:
    for stage, table in (("tasks", TASKS), ("feedback", FEEDBACK), ("refinement", REFINEMENT)):
        assert set(table) == set(STRATEGIES[stage])


def test_memory_raises_success_over_every_control(settings: Settings, parts: Parts) -> None:
    options = {"tasks_per_world": 24, "quirks_per_world": 6}
    changed = settings.env.model_copy(update={"n": 72, "options": options})
    settings = settings.model_copy(update={"env": changed})
    report = evolve(settings, objective=QUIRKS, recipe="default", parts=parts)
    arms = {arm.name: arm for arm in report.arms}
    assert (report.status, report.autonomy) == ("finished", "low")
    assert report.rounds[0]["decision"] == "accepted"
    assert arms["stateless"].rate == 0.0
    assert arms["memory"].rate >= 0.6
    assert all(entry["p_value"] < 0.05 for entry in report.comparisons)
    assert all(entry["harmed"] == [] for entry in report.comparisons)
    assert set(report.rules) == rules_in(settings.home)
    log = GenerationLog(settings.home / "generations.sqlite")
    log.verify()
    assert log.served_id == report.generations["served"] != report.generations["before"]


def test_refused_candidates_are_never_served(settings: Settings, parts: Parts) -> None:
    report = evolve(settings, objective=QUIRKS, recipe="default", rounds=3, parts=parts)
    decisions = [entry["decision"] for entry in report.rounds]
    assert decisions[0] == "accepted"
    log = GenerationLog(settings.home / "generations.sqlite")
    refused = {entry.generation_id for entry in log.entries("refused")}
    served = {entry.generation_id for entry in log.entries("served")}
    assert len(refused) == decisions.count("refused") > 0
    assert refused & served == set()
    assert all(entry.content["verdict"]["evidence"] for entry in log.entries("refused"))
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        assert sum(r.kind == "experience" for r in memory.records()) == report.tasks["practice"]


def test_a_harmful_change_is_refused(settings: Settings, believer: Any) -> None:
    evolve(
        settings,
        objective=QUIRKS,
        recipe="default",
        rounds=1,
        parts=Parts(believer(), "hashing"),
    )
    before = rules_in(settings.home)
    poisoned = Recipe.model_validate(
        {
            "name": "poisoned",
            "rounds": 2,
            "in_context": {
                "reflect": "none",
                "forget": [{"policy": "fifo", "keep": 0, "kinds": ["rule"]}],
            },
        }
    )
    report = evolve(settings, objective=QUIRKS, recipe=poisoned, parts=Parts(believer(), "hashing"))
    assert [entry["decision"] for entry in report.rounds] == ["refused", "refused"]
    assert report.rounds[0]["mean_difference"] < 0
    assert rules_in(settings.home) == before


def test_the_stateless_control_changes_nothing(settings: Settings, parts: Parts) -> None:
    report = evolve(settings, objective=QUIRKS, recipe="stateless", parts=parts)
    assert [entry["decision"] for entry in report.rounds] == ["unchanged"]
    assert report.generations["before"] == report.generations["served"]
    assert report.rules == ()


@pytest.mark.parametrize(
    "name", [n for n in shipped_recipes() if n not in ("default", "stateless")]
)
def test_every_shipped_recipe_runs_to_its_report(
    name: str, settings: Settings, make_parts: Callable[[Path], Parts]
) -> None:
    parts = make_parts(settings.home)
    report = evolve(settings, objective=QUIRKS, recipe=name, rounds=1, parts=parts)
    assert (report.status, len(report.rounds)) == ("finished", 1)
    assert len(report.arms) == 4 + (report.adapter is not None)
    assert len(report.weights) == (load_recipe(name).in_weight.when != "never")


def test_the_real_service_in_its_sandbox_is_learnt_too(
    make_settings: Callable[..., Settings], parts: Parts, tmp_path: Path
) -> None:
    options = {"tasks_per_world": 20, "quirks_per_world": 4, "most_per_task": 2}
    settings = make_settings(tmp_path / "home", name="quirks", n=20, options=options)
    report = evolve(settings, objective=QUIRKS, recipe="default", rounds=1, parts=parts)
    assert report.rounds[0]["decision"] == "accepted"
    assert {arm.name: arm.rate for arm in report.arms}["memory"] == 1.0


def test_a_plateau_stops_an_evolution(settings: Settings, parts: Parts) -> None:
    report = evolve(settings, objective=QUIRKS, recipe="default", rounds=50, parts=parts)
    assert report.ended == "no candidate was accepted in 2 rounds"
    assert len(report.rounds) < 8


def test_a_met_target_stops_an_evolution(settings: Settings, parts: Parts) -> None:
    aim = Objective("quirks", target=0.5)
    report = evolve(settings, objective=aim, recipe="default", rounds=9, parts=parts)
    assert (report.ended, len(report.rounds)) == ("every target is met", 1)


def test_a_scope_can_be_the_objective(settings: Settings, parts: Parts) -> None:
    report = evolve(settings, objective=Objective("Besa"), recipe="default", rounds=1, parts=parts)
    assert report.rules == () or all("Besa" in rule for rule in report.rules)
    assert report.rounds[0]["inserted"] < report.tasks["practice"]


def test_uniform_attempts_stop_an_evolution(settings: Settings, parts: Parts) -> None:
    recipe = load_recipe("default")
    stop = recipe.stop.model_copy(update={"diversity_floor": 1.0})
    strict = recipe.model_copy(update={"stop": stop})
    report = evolve(settings, objective=QUIRKS, recipe=strict, parts=parts)
    assert "became uniform" in report.ended


def test_a_judge_that_disagrees_with_the_environment_is_not_asked_any_more(
    settings: Settings, believer: Any
) -> None:
    asked = 0

    class Flatterer(believer):  # type: ignore[misc]
        def _answer(self, messages: Any) -> AIMessage:
            nonlocal asked
            if "Score: N" in messages[-1].text:
                asked += 1
                return AIMessage("Well done. Score: 10")
            answer: AIMessage = super()._answer(messages)
            return answer

    recipe = load_recipe("default")
    sources = recipe.feedback.model_copy(update={"sources": ("environment", "judge")})
    judged = recipe.model_copy(update={"feedback": sources, "rounds": 2})
    report = evolve(settings, objective=QUIRKS, recipe=judged, parts=Parts(Flatterer(), "hashing"))
    attempts = report.rounds[0]["inserted"]
    assert asked == attempts >= 10
    assert any(note.startswith("the judge was switched off") for note in report.notes)


def test_a_leaked_gate_task_is_left_out_of_the_verdict(settings: Settings, parts: Parts) -> None:
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        for text in ("In Besa: stain the ball red.", "In Besa: scan the book."):
            memory.insert(Draft(text=text, namespace=("default",)))
        every = [f"{task.prompt} was seen" for task in _gate_tasks(settings)[:3]]
        for text in every:
            memory.insert(Draft(text=text, namespace=("default",)))
    report = evolve(settings, objective=QUIRKS, recipe="default", rounds=1, parts=parts)
    log = GenerationLog(settings.home / "generations.sqlite")
    made = next(entry for entry in reversed(log.entries("created")))
    assert len(made.content["evidence"]["leaks"]) == 3
    assert report.rounds[0]["pairs"] <= report.tasks["gate"] - 3


def _gate_tasks(settings: Settings) -> Any:
    from agentevo.evaluation.splits import split_tasks
    from agentevo.runtime import tasks_of

    split = split_tasks(tasks_of(settings), gate_share=0.3, exam_share=0.2, seed=0)
    known = {task.prompt for task in split.practice}
    return [task for task in split.gate if task.prompt not in known]


def test_medium_autonomy_takes_a_sound_proposal_of_the_model(
    settings: Settings, believer: Any
) -> None:
    class Adviser(believer):  # type: ignore[misc]
        answer: str = ""

        def _answer(self, messages: Any) -> AIMessage:
            if "Choose a recipe" in messages[-1].text:
                return AIMessage(self.answer)
            answer: AIMessage = super()._answer(messages)
            return answer

    sound = '{"recipe": "default", "changes": {"tasks": {"n": 5}, "rounds": 1}}'
    report = evolve(settings, objective=QUIRKS, parts=Parts(Adviser(answer=sound), "hashing"))
    assert (report.autonomy, report.recipe["tasks"]["n"]) == ("medium", 5)
    assert report.decisions["recipe"].startswith("model")
    unsound = '{"recipe": "default", "changes": {"tasks": {"strategy": "magic"}}}'
    report = evolve(
        settings, objective=QUIRKS, rounds=1, parts=Parts(Adviser(answer=unsound), "hashing")
    )
    assert report.recipe["name"] == "default"
    assert "'magic'" in report.decisions["recipe"]


def test_high_autonomy_runs_by_defaults_when_the_model_proposes_nothing(
    settings: Settings, parts: Parts
) -> None:
    report = evolve(settings, rounds=1, parts=parts)
    assert (report.autonomy, report.objective["ability"]) == ("high", "quirks")
    assert all(reason.startswith("default") for reason in report.decisions.values())


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"recipe": "reflexio"}, ConfigError, "did you mean 'reflexion'"),
        ({"objective": Objective("chess")}, ObjectiveError, r"'chess'; measured: quirks, Besa"),
        ({"budget": 10}, ConfigError, r"budget of 10 episodes is too small for one round"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(
    settings: Settings,
    parts: Parts,
    changes: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    given = {"objective": QUIRKS, "recipe": "default", **changes}
    with pytest.raises(error, match=told):
        evolve(settings, parts=parts, **given)
    assert list_evolutions(settings.home) == []


def test_a_recipe_that_asks_the_model_is_refused_for_one_that_replays(
    settings: Settings,
) -> None:
    with pytest.raises(ConfigError, match="'chat'"):
        evolve(settings, objective=QUIRKS, recipe="expel", parts=Parts(embedder="hashing"))


def test_too_few_tasks_to_hold_out_are_refused(settings: Settings, parts: Parts) -> None:
    few = settings.model_copy(update={"env": settings.env.model_copy(update={"n": 2})})
    with pytest.raises(ConfigError, match="hold out"):
        evolve(few, objective=QUIRKS, recipe="default", parts=parts)


def test_a_budget_limits_the_rounds(settings: Settings, parts: Parts) -> None:
    report = evolve(settings, objective=QUIRKS, recipe="default", rounds=9, budget=70, parts=parts)
    assert len(report.rounds) == 1
    assert report.cost["episodes"] <= 70


def test_two_evolutions_in_one_home_are_refused(settings: Settings, parts: Parts) -> None:
    settings.home.mkdir()
    with (
        RunLock(settings.home / "evolution.lock"),
        pytest.raises(RunInUseError, match="another evolution"),
    ):
        evolve(settings, objective=QUIRKS, recipe="default", parts=parts)


def test_a_stopped_evolution_goes_on_to_the_same_end(
    settings: Settings, make_settings: Callable[..., Settings], parts: Parts, tmp_path: Path
) -> None:
    undisturbed = evolve(settings, objective=QUIRKS, recipe="default", rounds=2, parts=parts)
    stop, seen = StopRequest(), 0

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += event["type"] == "agentevo.episode_finished"
        if seen == 30:
            stop.request()

    other = make_settings(tmp_path / "other")
    first = evolve(
        other,
        objective=QUIRKS,
        recipe="default",
        rounds=2,
        parts=replace(parts, stop=stop, on_event=interrupt),
    )
    assert first.status == "stopped"
    last = resume_evolution(other.home, "last", parts=parts)
    assert last.status == "finished"
    assert last == resume_evolution(other.home, last.id, parts=parts)
    assert rules_in(other.home) == rules_in(settings.home)
    for mine, theirs in zip(last.rounds, undisturbed.rounds, strict=True):
        assert mine == theirs
    assert [arm.solved for arm in last.arms] == [arm.solved for arm in undisturbed.arms]
    assert json.loads(json.dumps(last.to_json()))["id"] == open_evolution(other.home, "last").id


def test_another_base_model_does_not_continue_an_evolution(
    settings: Settings, parts: Parts
) -> None:
    stop = StopRequest()
    stop.request()
    first = evolve(settings, objective=QUIRKS, recipe="default", parts=replace(parts, stop=stop))
    other = ScriptedModel(responses=["hm"])
    with pytest.raises(RunError, match="was replaced"):
        resume_evolution(settings.home, first.id, parts=Parts(other, "hashing"))


def test_an_unknown_evolution_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no evolution 'x'.*agentevo evolve"):
        resume_evolution(tmp_path, "x")


def test_memory_that_somebody_else_changed_is_not_overwritten(
    settings: Settings, parts: Parts
) -> None:
    def disturb(event: Event) -> None:
        if event["type"] == "agentevo.memory_updated":
            with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
                memory.insert(Draft(text="a fact of somebody else", namespace=("default",)))

    report = evolve(
        settings,
        objective=QUIRKS,
        recipe="default",
        rounds=1,
        parts=replace(parts, on_event=disturb),
    )
    assert report.rounds[0]["decision"] == "refused"
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        assert [record.text for record in memory.records()] == ["a fact of somebody else"]
        assert memory.verify().intact
