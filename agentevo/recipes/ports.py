"""Ports: what the strategies of a recipe need besides an environment and a memory."""

from collections.abc import Collection, Mapping
from typing import Literal

from agentevo.errors import RecipeError
from agentevo.recipes.recipe import Recipe

Port = Literal["chat", "sandbox", "distiller"]

PORTS: Mapping[Port, str] = {
    "chat": "a chat model that answers questions (scripted:oracle and scripted:wrong do not)",
    "sandbox": "a sandbox, given by the settings",
    "distiller": "a local model that adapters are made for (seed, or llamacpp:FILE.gguf without lora)",
}
"""What each port is."""

_BY_CHAT = {
    "tasks.strategy": ("self_instruct", "rewrite"),
    "feedback.sources": ("judge", "critique"),
    "refinement.strategies": ("revise",),
    "in_context.reflect": ("model",),
}


def needs_of(recipe: Recipe) -> Mapping[Port, tuple[str, ...]]:
    """Return the ports that a recipe needs, each with the choices that need it."""
    chosen = {
        "tasks.strategy": (recipe.tasks.strategy,),
        "feedback.sources": recipe.feedback.sources,
        "refinement.strategies": recipe.refinement.strategies,
        "in_context.reflect": (recipe.in_context.reflect,),
    }
    chat = [
        f"{key} = {name!r}"
        for key, names in _BY_CHAT.items()
        for name in names
        if name in chosen[key]
    ]
    if recipe.in_context.lessons:
        chat.append("in_context.lessons = true")
    needs: dict[Port, tuple[str, ...]] = {"chat": tuple(chat)}
    if "execution" in recipe.feedback.sources:
        needs["sandbox"] = ("feedback.sources = 'execution'",)
    if recipe.in_weight.when != "never":
        needs["distiller"] = (f"in_weight.when = {recipe.in_weight.when!r}",)
    return {port: reasons for port, reasons in needs.items() if reasons}


def check_ports(recipe: Recipe, given: Collection[Port]) -> None:
    """Make sure that everything a recipe needs is there.

    Raises:
        RecipeError: A port is missing; names it, the choice that needs it, and what is there.
    """
    for port, reasons in needs_of(recipe).items():
        if port not in given:
            raise RecipeError(
                f"the recipe {recipe.name!r} needs the port {port!r}, {PORTS[port]}, because of "
                f"{' and '.join(reasons)}; given: {', '.join(sorted(given)) or 'none'}. Give it, or "
                "choose a recipe without that: agentevo recipes list"
            )
