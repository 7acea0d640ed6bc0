"""The shipped recipes, and those in files."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path

from agentevo.errors import RecipeError
from agentevo.recipes.recipe import Recipe, parse_recipe


@cache
def shipped_recipes() -> Mapping[str, Recipe]:
    """Return the recipes of the package by name, sorted."""
    folder = files(__package__).joinpath("shipped")
    texts = {
        entry.name: entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    recipes = [parse_recipe(tomllib.loads(text), origin=name) for name, text in texts.items()]
    return {recipe.name: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.name)}


def load_recipe(name: str) -> Recipe:
    """Return a recipe by name or by the path of a TOML file.

    Raises:
        RecipeError: There is no such recipe, or the file is not one.
    """
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    known = shipped_recipes()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"unknown recipe {name!r}; {hint}there are: {', '.join(known)}, or give the path of a "
            ".toml file"
        )
    return known[name]


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises:
        RecipeError: The file cannot be read or is no recipe.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read the recipe {str(path)!r}: {error}") from None
    return parse_recipe(values, origin=str(path))
