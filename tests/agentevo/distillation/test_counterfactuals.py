"""Counterfactual prompts rename scopes whole and keep everything else."""

from dataclasses import replace

import pytest

from agentevo.distillation.counterfactuals import (
    Copies,
    counterfactual_probes,
    near_names,
    renamed,
)
from agentevo.distillation.dataset import Practice
from agentevo.errors import AdapterError

MOKI = Practice(
    run_id="run",
    episode_id="run:1",
    scope="Moki",
    prompt="In Moki: move the box.",
    system="Operate.\nRules:\n- In Moki, the command for move is zabo.",
    bare_system="Operate.",
    rule_ids=("r1",),
    trust=1.0,
    messages=(
        {"role": "user", "content": "In Moki: move the Mokibox."},
        {"role": "assistant", "content": "zabo obj=box"},
    ),
    solved=True,
)
RUVI = replace(
    MOKI,
    scope="Ruvi",
    system="Operate.\nRules:\n- In Ruvi, the command for move is teka.",
    messages=({"role": "user", "content": "In Ruvi: move the box."}, *MOKI.messages[1:]),
)


ONE_EACH = Copies(1, 1, 1)


def test_each_episode_gives_as_many_prompts_of_each_kind_as_asked() -> None:
    probes = list(counterfactual_probes([MOKI, RUVI], ["Sola"], copies=Copies(2, 1, 1)))
    assert [probe.kind for probe in probes] == ["scope", "scope", "replay", "conflict"] * 2


def test_an_unknown_scope_is_asked_without_and_with_its_rules() -> None:
    scope, replay, _ = list(counterfactual_probes([MOKI, RUVI], ["Sola"], copies=ONE_EACH))[:3]
    assert scope.system == "Operate."
    assert scope.messages == ({"role": "user", "content": f"In {scope.scope}: move the Mokibox."},)
    assert f"In {replay.scope}, the command for move is zabo." in replay.system
    assert {scope.scope, replay.scope}.isdisjoint({"Moki", "Ruvi"})


def test_a_conflict_gives_a_known_scope_the_rules_of_another() -> None:
    conflict = list(counterfactual_probes([MOKI, RUVI], ["Sola"], copies=ONE_EACH))[2]
    assert conflict.scope == "Ruvi"
    assert "In Ruvi, the command for move is zabo." in conflict.system


def test_a_single_scope_with_one_rule_has_nothing_to_conflict_with() -> None:
    kinds = [probe.kind for probe in counterfactual_probes([MOKI], ["Sola"], copies=ONE_EACH)]
    assert kinds == ["scope", "replay"]


def test_a_scope_conflicts_with_its_own_rules_exchanged() -> None:
    rules = ("In Moki move is zabo", "In Moki send is teka", "In Moki open needs check")
    told = "Operate.\nRules:\n- " + "\n- ".join(rules)
    episode = replace(MOKI, rules=rules, system=told)
    *_, conflict = counterfactual_probes([episode], ["Sola"], copies=ONE_EACH)
    assert (conflict.kind, conflict.scope) == ("conflict", "Moki")
    assert conflict.system.splitlines()[2:] == [
        "- In Moki move is teka",
        "- In Moki send is zabo",
        "- In Moki open needs check",
    ]


def test_both_conflicts_come_where_both_are_possible() -> None:
    rules = ("In Moki move is zabo", "In Moki send is teka")
    episode = replace(MOKI, rules=rules, system="Operate.\nRules:\n- " + "\n- ".join(rules))
    probes = list(counterfactual_probes([episode, RUVI], ["Sola"], copies=ONE_EACH))
    assert [(p.kind, p.scope) for p in probes if p.kind == "conflict"] == [
        ("conflict", "Ruvi"),
        ("conflict", "Moki"),
        ("conflict", "Moki"),
    ]
    none = counterfactual_probes([episode, RUVI], ["Sola"], copies=Copies(1, 1, 1, exchanged=0))
    assert sum(probe.kind == "conflict" for probe in none) == 2


def test_names_are_also_mixed_from_those_that_are_taught() -> None:
    near = near_names(["Moki", "Ruvi"], ["Sola"])
    assert {"Movi", "Ruki", "Mola", "Soki"} <= set(near)
    assert {"Moki", "Ruvi", "Sola"}.isdisjoint(near)


def test_calls_are_renamed_inside_their_arguments() -> None:
    function = {"name": "run", "arguments": '{"command": "go Moki"}'}
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    [changed] = renamed([message], "Moki", "Sola")
    assert changed["tool_calls"][0]["function"]["arguments"] == '{"command": "go Sola"}'


@pytest.mark.parametrize("names", [[], ["Moki", "Sola"]])
def test_names_in_use_are_refused(names: list[str]) -> None:
    with pytest.raises(AdapterError, match="not in use"):
        list(counterfactual_probes([MOKI], names))
