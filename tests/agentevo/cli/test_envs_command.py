from collections.abc import Callable
from typing import Any

import pytest

Invoke = Callable[..., Any]


def test_installed_environments_are_listed(invoke: Invoke) -> None:
    listed = invoke("envs", "list", "--json").document["data"]["environments"]
    assert {"code"} <= {entry["id"] for entry in listed}
    assert "code" in invoke("envs", "list").out


def test_info_shows_options_tools_and_tasks(invoke: Invoke) -> None:
    data = invoke("envs", "info", "echo_world:Echo", "--json").document["data"]
    assert data["options"]["size"] == {"type": "int", "default": 10, "meaning": ""}
    assert [tool["name"] for tool in data["tools"]] == ["say", "add"]
    assert (data["tasks"], data["step_limit"]) == (10, 4)
    shown = invoke("envs", "info", "echo_world:Echo").out
    assert "Say the word you are asked to say." in shown


def test_info_says_what_every_option_means_and_how_to_give_it(invoke: Invoke) -> None:
    options = invoke("envs", "info", "quirks", "--json").document["data"]["options"]
    assert all(option["meaning"] for option in options.values())
    assert options["attempts"]["meaning"].startswith("Number of failed commands")
    assert '"drift" (quirks change halfway).' in options["tier"]["meaning"]
    shown = invoke("envs", "info", "quirks").out
    assert "attempts = 0" in shown
    assert "--set env.options.NAME=VALUE" in shown


def test_options_of_the_environment_can_be_set(invoke: Invoke) -> None:
    args = ("envs", "info", "echo_world:Echo", "--set", "env.options.size=3", "--json")
    assert invoke(*args).document["data"]["tasks"] == 3


def test_a_sound_environment_is_valid(invoke: Invoke) -> None:
    outcome = invoke("envs", "validate", "echo_world:Echo", "--n", "3", "--json")
    data = outcome.document["data"]
    assert (outcome.code, data["ok"], data["tasks"]) == (0, True, 3), data
    assert (data["oracles_solved"], data["decoys_refused"]) == (3, 3)


def test_an_environment_whose_solutions_fail_is_not_valid(invoke: Invoke, folder: Any) -> None:
    source = (folder / "echo_world.py").read_text()
    (folder / "odd_world.py").write_text(source.replace("solved = self", "solved = not self"))
    outcome = invoke("envs", "validate", "odd_world:Echo", "--json")
    assert outcome.code == 1
    assert not outcome.document["data"]["ok"]


@pytest.mark.parametrize(
    "typed",
    ["say word0\n", 'say {"text": "word0"}\n', "say <<X\nword0\nX\n", "say <<\nword0\nEND\n"],
)
def test_a_person_can_play_from_a_script(typed: str, invoke: Invoke) -> None:
    outcome = invoke("envs", "play", "echo_world:Echo", "--json", text=typed)
    data = outcome.document["data"]
    assert (outcome.code, data["grade"]["solved"], len(data["turns"])) == (0, True, 1)
    assert "Say word0" in outcome.err


def test_play_talks_on_stdout_when_people_listen(invoke: Invoke) -> None:
    typed = '/tools\nsay hm\nadd 3\njump\nadd [1]\nadd {"a": 1, "b": 2}\nsay word4\n'
    outcome = invoke("envs", "play", "echo_world:Echo", "--task", "t4", text=typed)
    for part in (
        "Say word4",
        "add(a, b): Add.",
        "takes 2 arguments",
        "no tool 'jump'",
        "You said hm",
    ):
        assert part in outcome.out
    assert "\n3\n" in outcome.out
    assert "solved, score 1.00: right" in outcome.out


@pytest.mark.parametrize("typed", ["", "/quit\n", "say hm\n"])
def test_ending_early_is_graded_as_it_stands(typed: str, invoke: Invoke) -> None:
    outcome = invoke("envs", "play", "echo_world:Echo", "--json", text=typed)
    assert outcome.document["data"]["grade"]["solved"] is False


def test_play_stops_at_the_step_limit(invoke: Invoke) -> None:
    outcome = invoke("envs", "play", "echo_world:Echo", "--json", text="say hm\n" * 9)
    assert len(outcome.document["data"]["turns"]) == 4


def test_an_unknown_task_is_answered_with_the_nearest(invoke: Invoke) -> None:
    outcome = invoke("envs", "play", "echo_world:Echo", "--task", "t44")
    assert outcome.code == 2
    assert "'t4'" in outcome.err


def test_an_environment_that_raises_is_a_finding_not_a_crash(invoke: Invoke, folder: Any) -> None:
    source = (folder / "echo_world.py").read_text()
    raising = source.replace("given = action.arguments", 'given = action.arguments["text"]')
    (folder / "raising_world.py").write_text(raising)
    outcome = invoke("envs", "validate", "raising_world:Echo", "--json")
    assert outcome.code == 1
    assert "raises KeyError" in str(outcome.document["data"]["contract"])
