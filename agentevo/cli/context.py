"""What commands share: the settings that the command line, environment and file give together."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.errors import UnknownRunError

if TYPE_CHECKING:
    from agentevo.config import Layer, Settings

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, such as run.wall_s=60."),
]
"""The type of a command's `sets` parameter."""

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or last.")]
"""The type of a command's `run_id` parameter; `resolve_run` reads it."""


def layers_of(
    ctx: typer.Context,
    overrides: Mapping[str, Any] | None = None,
    *,
    sets: Sequence[str] | None = None,
    file: Path | None = None,
) -> "list[Layer]":
    """Return the layers of settings of a command; `--home` counts as one of its options.

    Args:
        ctx: The context of the command.
        overrides: What its options set, nested like `Settings`; None values are left out.
        sets: Its `--set` options.
        file: The settings of an earlier run to start from, instead of environment and file.
    """
    from agentevo.config import read_layers

    given = _without_none(overrides or {})
    home = ctx.find_root().obj
    if home is not None:
        given["home"] = home
    environ: dict[str, str] | None = None if file is None else {}
    return read_layers(given, sets=sets or (), file=file, environ=environ)


def settings_of(
    ctx: typer.Context,
    overrides: Mapping[str, Any] | None = None,
    *,
    sets: Sequence[str] | None = None,
    file: Path | None = None,
) -> "Settings":
    """Return the settings of a command; see `layers_of`."""
    from agentevo.config import merge_layers

    return merge_layers(layers_of(ctx, overrides, sets=sets, file=file))


def command_line(ctx: typer.Context, command: str, *, home: Path | None = None) -> str:
    """Return what to type for `command`.

    Args:
        ctx: The context of the command that runs.
        command: A command without `agentevo`, such as `resume last`.
        home: The data folder to name; None for the one that the running command was given.
    """
    home = home or ctx.find_root().obj
    chosen = "" if home is None else f"--home {shlex.quote(str(home))} "
    return f"agentevo {chosen}{command}"


def resolve_run(home: Path, name: str) -> str:
    """Return the run id that `name` stands for; "last" is the newest run.

    Raises:
        UnknownRunError: There is no run yet.
    """
    if name != "last":
        return name
    from agentevo.runtime import list_runs

    reports = list_runs(home)
    if not reports:
        raise UnknownRunError(
            f"there is no run in {str(home)!r} yet; start one with `agentevo run`"
        )
    return reports[0].id


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    return {key: value for key, value in nested.items() if value is not None and value != {}}
