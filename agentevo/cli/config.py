"""`agentevo config`: the settings in force, where each comes from, and what they mean."""

from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel

from agentevo.cli.context import SetOption, layers_of
from agentevo.cli.output import JsonFlag, emit, table
from agentevo.config import Settings, dump_settings, merge_layers, origin_of

app = typer.Typer(help="Show the settings and what they mean.", no_args_is_help=True)


@app.command()
def show(ctx: typer.Context, sets: SetOption = None, as_json: JsonFlag = False) -> None:
    """Show the settings in force and where each comes from.

    The order is: command line, --set, environment (AGENTEVO_RUN__CONCURRENCY=8), agentevo.toml or
    [tool.agentevo] of pyproject.toml in the working directory, default.

    Example: agentevo config show --set env.n=3
    """
    layers = layers_of(ctx, sets=sets)
    settings = merge_layers(layers)
    rows = [(key, value, origin_of(key, layers)) for key, value in _leaves(settings)]
    data = {
        "settings": settings.model_dump(mode="json"),
        "origins": {key: origin for key, _, origin in rows},
        "toml": dump_settings(settings),
    }
    shown = [(key, _written(value), origin) for key, value, origin in rows]
    emit(ctx, data, as_json=as_json, human=table(["setting", "value", "from"], shown))


@app.command()
def schema(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Show every setting with its default and meaning; --json gives the JSON Schema.

    Example: agentevo config schema
    """
    rows = list(_describe(Settings))
    human = table(["setting", "default", "meaning"], rows)
    emit(ctx, Settings.model_json_schema(), as_json=as_json, human=human)


def _leaves(node: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(node).model_fields:
        value = getattr(node, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _describe(node: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in node.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _describe(field.annotation, f"{prefix}{name}.")
        else:
            default = _written(field.get_default(call_default_factory=True, validated_data={}))
            yield prefix + name, default, field.description or ""


def _written(value: Any) -> str:
    return "none" if value is None else str(value)
