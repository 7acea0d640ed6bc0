"""`agentevo recipes`: list and check recipes of evolution."""

from typing import Annotated

import typer

from agentevo.cli.output import JsonFlag, emit, table

app = typer.Typer(help="List and check recipes of evolution.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="Name, or path of a .toml.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the shipped recipes with what they need.

    Example: agentevo recipes list
    """
    from agentevo.recipes import needs_of, shipped_recipes

    recipes = list(shipped_recipes().values())
    rows = [
        (recipe.name, recipe.description, ", ".join(needs_of(recipe)) or "-", recipe.source)
        for recipe in recipes
    ]
    data = [
        {
            "id": recipe.name,
            "description": recipe.description,
            "source": recipe.source,
            "needs": list(needs_of(recipe)),
        }
        for recipe in recipes
    ]
    human = table(["recipe", "what it does", "needs", "after"], rows)
    emit(ctx, {"recipes": data}, as_json=as_json, human=human)


@app.command()
def show(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show a recipe in full, as the TOML that a recipe of your own can start from.

    Example: agentevo recipes show default
    """
    from agentevo.recipes import dump_recipe, load_recipe

    recipe = load_recipe(name)
    data = {"id": recipe.name, **recipe.model_dump(mode="json")}
    emit(ctx, data, as_json=as_json, human=dump_recipe(recipe))


@app.command()
def validate(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Check a recipe and say what it needs; nothing is run.

    Example: agentevo recipes validate default
    """
    from agentevo.recipes import load_recipe, needs_of

    recipe = load_recipe(name)
    needs = {port: list(reasons) for port, reasons in needs_of(recipe).items()}
    told = [f"{port} because of {' and '.join(reasons)}" for port, reasons in needs.items()]
    human = f"{recipe.name} is a valid recipe; it needs {'; '.join(told) or 'nothing further'}"
    data = {"id": recipe.name, "valid": True, "needs": needs}
    emit(ctx, data, as_json=as_json, human=human)
