"""Autonomy: who sets the objective and the recipe when they are not given (survey section 2).

Low: both are given. Medium: the recipe is proposed. High: the objective is, and the recipe unless it
is given. A model's proposal must fit the
schema and survive a dry run on three tasks; otherwise the default is taken. Every decision says who
made it.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from agentevo.errors import AgentevoError, ConfigError
from agentevo.evolution.report import Autonomy
from agentevo.objective import DIRECTIONS, Objective, ObjectiveError
from agentevo.recipes import Port, Recipe, check_ports, load_recipe, parse_recipe, shipped_recipes

Ask = Callable[[str], str]
DEFAULT_RECIPE = "default"
_JSON = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Proposed:
    """A recipe or an objective with who chose it.

    Attributes:
        value: What was chosen.
        reason: "user", "model: ..." or "default: ...".
    """

    value: Any
    reason: str


def autonomy_of(objective: object | None, recipe: object | None) -> Autonomy:
    """Return the level that follows from what is missing."""
    if objective is not None and recipe is not None:
        return "low"
    return "medium" if objective is not None else "high"


def propose_recipe(
    ask: Ask | None, ports: Collection[Port], dry_run: Callable[[Recipe], None]
) -> Proposed:
    """Return the model's recipe if it is sound, else the default.

    Args:
        ask: The model, or None if it answers no questions.
        ports: What strategies may use.
        dry_run: Tries a recipe on a few tasks; raises AgentevoError if it does not work.
    """
    fallback = load_recipe(DEFAULT_RECIPE)
    if ask is None:
        return Proposed(fallback, "default: the model answers no questions")
    listing = "\n".join(f"- {r.name}: {r.description}" for r in shipped_recipes().values())
    answer = ask(
        f"Choose a recipe for an agent that improves itself. There are:\n{listing}\n"
        'Answer with JSON: {"recipe": NAME, "changes": {...}}. "changes" may be empty; it '
        'overrides keys such as {"tasks": {"n": 10}}.'
    )
    try:
        recipe = _read_recipe(answer)
        check_ports(recipe, ports)
        dry_run(recipe)
    except AgentevoError as error:
        return Proposed(fallback, f"default: the model's proposal was refused: {error}")
    return Proposed(recipe, "model: passed the schema and a dry run")


def propose_objective(ask: Ask | None, environment: str, scopes: Sequence[str]) -> Proposed:
    """Return the model's objective if something measures it, else the whole environment."""
    fallback = Objective(environment)
    if ask is None:
        return Proposed(fallback, "default: the model answers no questions")
    abilities = [environment, *scopes]
    answer = ask(
        f"Choose what an agent should get better at. Abilities: {', '.join(abilities)}. Directions: "
        f'{", ".join(DIRECTIONS)}. Answer with JSON: {{"ability": ..., "direction": ...}}.'
    )
    try:
        values = _object_in(answer)
        objective = Objective(
            str(values.get("ability")), values.get("direction", "improve_performance")
        )
        check_measurable(objective, abilities)
    except AgentevoError as error:
        return Proposed(fallback, f"default: the model's proposal was refused: {error}")
    return Proposed(objective, "model: the environment measures it")


def check_measurable(objective: Objective, abilities: Sequence[str]) -> None:
    """Make sure that every leaf is measured.

    Raises:
        ObjectiveError: One is not; names it and what is measured.
    """
    for leaf in objective.leaves():
        if leaf.ability not in abilities:
            raise ObjectiveError(
                f"no environment measures {leaf.ability!r}; measured: {', '.join(abilities)}; "
                "choose one of these"
            )


def _read_recipe(answer: str) -> Recipe:
    values = _object_in(answer)
    if unknown := set(values) - {"recipe", "changes"}:
        raise ConfigError(f"unknown keys {sorted(unknown)}; allowed: recipe, changes")
    base = load_recipe(str(values.get("recipe"))).model_dump(mode="json")
    changes = values.get("changes") or {}
    if not isinstance(changes, dict):
        raise ConfigError(f"changes is {changes!r}, not an object")
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = {**base[key], **value} if nested else value
    return parse_recipe(base, origin="the model's proposal")


def _object_in(answer: str) -> dict[str, Any]:
    found = _JSON.search(answer)
    try:
        values = json.loads(found.group(0)) if found else None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigError(f"no JSON object in {answer[:80]!r}")
    return values
