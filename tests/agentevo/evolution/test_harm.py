"""Updates that do harm on purpose, in half of the rounds, never reach what is served."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.evolution import evolve
from agentevo.evolution.parts import Parts
from agentevo.objective import Objective
from agentevo.recipes import load_recipe
from agentevo.stages import Experience, Round, UpdateReceipt
from agentevo.updating.in_context import InContextMemory
from agentevo_memory import Draft, VectorMemory
from agentevo_memory.journal import Selection

ROUNDS = 12
HARMED = "harmed"


@dataclass(frozen=True)
class Harm:
    """Replaces most of the rules that instruct by wrong ones, as an attacker with a verifier would."""

    memory: InContextMemory
    number: int

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        chosen = Selection(namespace=self.memory.namespace, kinds=("rule",), statuses=("active",))
        rules = [rule for rule in self.memory.store.records(chosen) if rule.may_instruct]
        if self.number % 2 == 1 or not rules:
            return UpdateReceipt({HARMED: 0})
        source = random.Random(self.number)
        victims = source.sample(rules, max(1, 2 * len(rules) // 3))
        for rule in victims:
            wrong = rule.text.rsplit(" ", 1)[0] + f" wrong{self.number}"
            draft = Draft(
                text=wrong,
                kind="rule",
                namespace=rule.namespace,
                environment=rule.environment,
                scope=rule.scope,
                key=rule.key,
            )
            made = self.memory.store.insert(draft, supersedes=[rule.id])
            self.memory.store.promote(made.id, verifier="nobody")
        return UpdateReceipt({HARMED: len(victims)})


@pytest.mark.slow
def test_no_harmful_candidate_is_served(
    make_settings: Callable[..., Settings], believer: Any, tmp_path: Path
) -> None:
    options = {"tasks_per_world": 40, "quirks_per_world": 6}
    settings = make_settings(tmp_path / "home", n=120, options=options)
    recipe = load_recipe("default")
    recipe = recipe.model_copy(
        update={
            "rounds": ROUNDS,
            "tasks": recipe.tasks.model_copy(update={"n": 6}),
            "evaluation": recipe.evaluation.model_copy(update={"most_attempts": 1}),
            "stop": recipe.stop.model_copy(update={"patience": ROUNDS, "diversity_floor": 0.0}),
        }
    )
    parts = Parts(believer(), "hashing", updaters={"harm": Harm})
    report = evolve(settings, objective=Objective("quirks"), recipe=recipe, parts=parts)
    harmful = [entry for entry in report.rounds if entry.get(HARMED)]
    harmless = [entry for entry in report.rounds if not entry.get(HARMED)]
    assert len(harmful) >= ROUNDS // 2 - 1
    assert [entry["decision"] for entry in harmful] == ["refused"] * len(harmful)
    assert sum(entry["decision"] == "accepted" for entry in harmless) >= 2
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        assert not any("wrong" in record.text for record in memory.records())
