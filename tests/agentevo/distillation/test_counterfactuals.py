"""Counterfactual prompts rename scopes whole and keep everything else."""

from dataclasses import replace

import pytest

from agentevo.distillation.counterfactuals import counterfactual_probes
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


def test_each_episode_gives_one_prompt_of_each_kind() -> None:
    probes = list(counterfactual_probes([MOKI, RUVI], ["Sola"]))
    assert [probe.kind for probe in probes] == ["scope", "replay", "conflict"] * 2


def test_an_unknown_scope_is_asked_without_and_with_its_rules() -> None:
    scope, replay, _ = list(counterfactual_probes([MOKI, RUVI], ["Sola"]))[:3]
    assert scope.system == "Operate."
    assert scope.messages == ({"role": "user", "content": "In Sola: move the Mokibox."},)
    assert "In Sola, the command for move is zabo." in replay.system


def test_a_conflict_gives_a_known_scope_the_rules_of_another() -> None:
    conflict = list(counterfactual_probes([MOKI, RUVI], ["Sola"]))[2]
    assert conflict.scope == "Ruvi"
    assert "In Ruvi, the command for move is zabo." in conflict.system


def test_a_single_scope_has_nothing_to_conflict_with() -> None:
    assert [p.kind for p in counterfactual_probes([MOKI], ["Sola"])] == ["scope", "replay"]


@pytest.mark.parametrize("names", [[], ["Moki", "Sola"]])
def test_names_in_use_are_refused(names: list[str]) -> None:
    with pytest.raises(AdapterError, match="not in use"):
        list(counterfactual_probes([MOKI], names))
