"""`LazyGroup`: the root command, which knows all commands by name and loads the one that is used."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from agentevo.cli.failures import guarded
from agentevo.cli.mounts import MOUNTS, Mount

_GLOBAL_OPTIONS = {"--home": 1, "--debug": 0}


class LazyGroup(TyperGroup):
    """A group of the mounted commands; help and completion load none of them."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self._mounts = {mount.name: mount for mount in MOUNTS if _exists(mount)}
        for mount in self._mounts.values():
            self.add_command(TyperCommand(mount.name, help=mount.help, rich_help_panel=mount.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the listed command by the real one, loading its module."""
        name, command, rest = super().resolve_command(ctx, args)
        mount = self._mounts.get(name or "")
        return name, (_load(mount) if mount else command), rest

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and exit with its documented code; no traceback leaves it."""
        del prog_name, standalone_mode, windows_expand_args  # always agentevo, always our errors
        arguments = _globals_first(sys.argv[1:] if args is None else args)
        run = super().main

        def command() -> Any:
            return run(arguments, "agentevo", complete_var, standalone_mode=False, **extra)

        sys.exit(guarded(command, arguments))


def _exists(mount: Mount) -> bool:
    return importlib.util.find_spec(f"agentevo.cli.{mount.module}") is not None


def _load(mount: Mount) -> Any:
    app = importlib.import_module(f"agentevo.cli.{mount.module}").app
    group = typer.main.get_group(app)
    command = group.commands[mount.name] if mount.verb else group
    command.name = mount.name
    return command


def _globals_first(args: Sequence[str]) -> list[str]:
    """Move the global options to the front, so that they may stand anywhere before `--`."""
    rest = list(args)
    end = rest.index("--") if "--" in rest else len(rest)
    front: list[str] = []
    position = 0
    while position < end:
        name, equals, _ = rest[position].partition("=")
        if name not in _GLOBAL_OPTIONS:
            position += 1
            continue
        length = 1 if equals else 1 + _GLOBAL_OPTIONS[name]
        front += rest[position : position + length]
        del rest[position : position + length]
        end -= length
    return front + rest
