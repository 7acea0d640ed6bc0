"""The service: what a world answers to a command."""

import json
import subprocess
import sys
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.jobs import commands, draw_job
from agentevo_environments.packs.quirks.worlds import World, draw_quirks


def fresh() -> dict[str, Any]:
    return {"steps": [], "objects": {}}


def run_all(world: World, lines: list[str]) -> tuple[dict[str, Any], list[tuple[str, bool]]]:
    state = fresh()
    return state, [service.answer(world.as_json(), state, line) for line in lines]


@given(st.integers(0, 10**6))
def test_who_knows_the_quirks_gets_the_job_done(seed: int) -> None:
    random = Random(seed)
    job = draw_job(random, tuple(service.ACTIONS))
    slots = [*job.slots, *job.hard_slots]
    chosen = random.sample(slots, random.randint(0, len(slots)))
    world = World("Moki", draw_quirks(random, chosen, reserved=False))
    state, answers = run_all(world, commands(job, world.quirks))
    assert answers[-1] == ("ok", False), (commands(job, world.quirks), world)
    assert state["objects"] == {job.item: {job.action: job.goal}}


@given(st.integers(0, 10**6))
def test_the_documented_command_fails_and_explicit_errors_teach_what_holds(seed: int) -> None:
    random = Random(seed)
    job = draw_job(random)
    chosen = random.sample(job.slots, random.randint(1, len(job.slots)))
    world = World("Moki", draw_quirks(random, chosen, reserved=False))
    state, ((text, error),) = run_all(world, commands(job, {}))
    assert error
    assert state == fresh()
    assert set(text.split("\n- ")[1:]) == {world.rule(slot) for slot in chosen}


@given(st.integers(0, 10**6))
def test_errors_that_name_the_first_problem_lead_to_the_goal_one_by_one(seed: int) -> None:
    random = Random(seed)
    job = draw_job(random)
    chosen = random.sample(job.slots, random.randint(1, len(job.slots)))
    world = World("Moki", draw_quirks(random, chosen, reserved=False), errors="first")
    state = fresh()
    beliefs: dict[str, str] = {}
    for _ in range(len(chosen) + 1):
        for line in commands(job, beliefs):
            text, error = service.answer(world.as_json(), state, line)
            if error:
                break
        else:
            break
        (told,) = text.split("\n- ")[1:]
        beliefs |= {slot: world.quirks[slot] for slot in chosen if world.rule(slot) == told}
    assert state["objects"] == {job.item: {job.action: job.goal}}


@given(st.text())
def test_any_text_gets_an_answer_and_changes_nothing_when_it_is_an_error(command: str) -> None:
    state = fresh()
    text, error = service.answer(World("Moki").as_json(), state, command)
    assert text == "ok" or (error and text.startswith("error:\n- ") and state == fresh())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "empty command"),
        ("do fly obj box", "unknown command fly"),
        ("do lock", "no obj"),
        ("do lock obj", "no value after obj"),
        ("do lock obj moon", "unknown obj moon"),
        ("do lock obj box to shelf", "no use for to"),
        ("do move obj box", "no to"),
        ("do move obj box to mars", "unknown to mars"),
        ("do lock obj box safe1", "unknown word safe1"),
        ("do seal obj box to shelf", "seal takes one obj"),
        ("do dial obj box num x", "unknown num x"),
    ],
)
def test_what_is_wrong_is_said(command: str, said: str) -> None:
    assert service.answer(World("Moki").as_json(), fresh(), command) == (f"error:\n- {said}", True)


def test_key_equals_value_is_understood_too() -> None:
    state, answers = run_all(World("Moki"), ["move obj=box to=shelf"])
    assert answers == [("ok", False)]
    assert state["objects"] == {"box": {"move": {"to": "shelf"}}}


@pytest.mark.parametrize(
    ("feedback", "said"),
    [
        ("explicit", "In Moki move is zabo"),
        ("expected", "expected zabo, got move"),
        ("pass_fail", "failed"),
    ],
)
def test_feedback_tiers_tell_less_and_less(feedback: str, said: str) -> None:
    world = World("Moki", {"command move": "zabo"}, feedback=feedback)
    _, ((text, error),) = run_all(world, ["do move obj box to shelf"])
    assert (text, error) == (f"error:\n- {said}", True)


def test_what_held_before_a_drift_is_recognised_and_corrected() -> None:
    world = World("Moki", {"command move": "zabo"}, {"command move": "tiru", "flag move": "dry3"})
    _, ((text, _),) = run_all(world, ["do tiru obj box to shelf dry3"])
    assert text.split("\n- ")[1:] == ["In Moki move is zabo", "In Moki move takes nothing"]


def test_the_file_is_a_whole_program() -> None:
    request = {"world": World("Moki").as_json(), "state": fresh(), "command": "do lock obj box"}
    done = subprocess.run(
        [sys.executable, "-I", service.__file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    reply = json.loads(done.stdout)
    assert (reply["text"], reply["error"]) == ("ok", False)
    assert reply["state"]["objects"] == {"box": {"lock": {}}}
