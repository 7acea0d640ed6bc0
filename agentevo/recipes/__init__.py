"""Recipes: which strategy every stage of an evolution uses."""

from agentevo.recipes.ports import Port, check_ports, needs_of
from agentevo.recipes.recipe import Recipe, dump_recipe, parse_recipe
from agentevo.recipes.shelf import load_recipe, read_recipe, shipped_recipes

__all__ = [
    "Port",
    "Recipe",
    "check_ports",
    "dump_recipe",
    "load_recipe",
    "needs_of",
    "parse_recipe",
    "read_recipe",
    "shipped_recipes",
]
