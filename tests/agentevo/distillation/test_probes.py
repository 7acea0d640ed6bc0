"""Probes ask adapter and base the same questions, and tell gain from damage without an environment."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentevo.distillation.actions import action_of, has_call
from agentevo.distillation.dataset import Answer, Practice, Tools
from agentevo.distillation.probes import (
    COLUMNS,
    AdapterProbes,
    adapter_questions,
    weight_criteria,
)
from agentevo.distillation.rows import Message
from agentevo.gate import Gate

RULES = {"Moki": "zabo", "Ruvi": "teka"}


def call(command: str) -> Message:
    function = {"name": "run", "arguments": json.dumps({"command": command})}
    return {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}


def episode(scope: str, number: int) -> Practice:
    asked = {"role": "user", "content": f"In {scope}: move box {number}."}
    return Practice(
        run_id="run",
        episode_id=f"run:{scope}{number}",
        scope=scope,
        prompt=str(asked["content"]),
        system=f"Operate. In {scope} move is {RULES[scope]}.",
        bare_system="Operate.",
        rule_ids=("r1",),
        trust=1.0,
        messages=(asked, call(RULES[scope]), {"role": "tool", "content": "ok"}),
        solved=True,
    )


HELD_OUT = [episode(scope, number) for scope in RULES for number in range(60)]


def agent(known: dict[str, str], *, told: bool = True, default: str = "move") -> Answer:
    """An agent that knows some words by heart, and reads others in its prompt."""

    def answer(system: str, messages: Sequence[Message], tools: Tools) -> Message:
        scope = str(messages[0]["content"]).split()[1].rstrip(":")
        if told and " move is " in system:
            return call(system.split(" move is ")[1].rstrip("."))
        return call(known.get(scope, default))

    return answer


BASE = agent({})


def probes(candidate: Answer) -> AdapterProbes:
    return AdapterProbes(adapter_questions(HELD_OUT, ["Sola", "Deku"]), candidate, BASE)


def rates(candidate: Answer) -> dict[str, float]:
    measured = probes(candidate).measure()
    return {name: sum(ours for ours, _ in pairs) / len(pairs) for name, pairs in measured.items()}


def test_a_sound_adapter_gains_and_damages_nothing() -> None:
    found = probes(agent(RULES))
    assert {pair for pairs in found.measure().values() for pair in pairs} == {
        (1.0, 1.0),
        (1.0, 0.0),
    }
    assert set(found.measure()["gain"]) == {(1.0, 0.0)}
    assert Gate(weight_criteria()).judge(found.tasks, found.score).accepted


class _Everywhere(dict[str, str]):
    def get(self, key: str, default: Any = None) -> Any:
        return "zabo"


@pytest.mark.parametrize(
    ("candidate", "column"),
    [
        (agent({}), "gain"),
        (agent(_Everywhere()), "leak"),
        (agent(RULES, told=False), "override"),
        (agent(RULES, told=False), "retention"),
    ],
)
def test_each_damage_shows_in_its_column_and_the_gate_refuses(
    candidate: Answer, column: str
) -> None:
    assert rates(candidate)[column] < 0.6
    found = probes(candidate)
    verdict = Gate(weight_criteria()).judge(found.tasks, found.score)
    assert not verdict.accepted


def test_an_adapter_that_no_longer_calls_fails_the_format() -> None:
    def chatter(system: str, messages: Sequence[Message], tools: Tools) -> Message:
        return {"role": "assistant", "content": "I moved it."}

    assert rates(chatter)["format"] == 0.0


def test_every_question_is_asked_once() -> None:
    asked: list[str] = []

    def counting(system: str, messages: Sequence[Message], tools: Tools) -> Message:
        asked.append(system)
        return BASE(system, messages, tools)

    found = probes(counting)
    name = found.tasks["gain"][0]
    assert found.score("gain", name) == found.score("gain", name) == (0.0, 0.0)
    assert len(asked) == 1


def test_episodes_that_failed_or_were_told_nothing_ask_nothing() -> None:
    useless = [replace(HELD_OUT[0], solved=False), replace(HELD_OUT[1], rule_ids=())]
    assert adapter_questions(useless, ["Sola"]) == {column: [] for column in COLUMNS}


def test_other_names_are_never_those_that_are_taught() -> None:
    questions = adapter_questions(HELD_OUT, ["Sola"])
    others = {each.id.split("@")[1] for each in questions["leak"]}
    assert others.isdisjoint(RULES)
    assert "Sola" in others
    assert {each.id.split("@")[1] for each in questions["override"]} == set(RULES)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (call("a b"), {**call("a b"), "content": "thinking aloud"}, True),
        (call("a b"), call("a c"), False),
        ({"role": "assistant", "content": "a  b "}, {"role": "assistant", "content": "a b"}, True),
        (call("a b"), {"role": "assistant", "content": "a b"}, False),
    ],
)
def test_an_action_is_the_calls_or_else_the_words(
    first: Message, second: Message, same: bool
) -> None:
    assert (action_of(first) == action_of(second)) is same


def test_a_call_with_unreadable_arguments_is_no_call() -> None:
    function = {"name": "run", "arguments": "{broken"}
    assert not has_call({"role": "assistant", "tool_calls": [{"function": function}]})
    assert has_call(call("x"))
