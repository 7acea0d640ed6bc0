import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import agentevo.cli
from agentevo.cli import app
from agentevo.cli.lazy import LazyGroup
from agentevo.cli.mounts import MOUNTS

HEAVY = {
    "torch",
    "transformers",
    "chromadb",
    "sentence_transformers",
    "llama_cpp",
    "docker",
    "langgraph",
    "langchain",
    "langchain_core",
    "numpy",
    "pydantic",
}
PROBE = """
import json, sys
from agentevo.cli import main
try:
    main()
except SystemExit:
    pass
print()
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(*args: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def walk(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Return every leaf command with what the user types for it."""
    found = []
    for name, listed in command.commands.items():
        ctx = typer.Context(command)
        _, child, _ = command.resolve_command(ctx, [name])
        assert child is not None, listed
        here = (*path, name)
        found += walk(child, here) if hasattr(child, "commands") else [(" ".join(here), child)]
    return found


ROOT: Any = typer.main.get_command(app)
COMMANDS = dict(walk(ROOT))


def test_help_lists_the_commands_and_explains_the_exit_codes(invoke: Callable[..., Any]) -> None:
    outcome = invoke("--help")
    assert outcome.code == 0
    assert "0 done, 1 failed, 2 wrong usage or bad input, 3 stopped and" in outcome.out
    for name in ("run", "resume", "runs", "envs", "config", "doctor"):
        assert f" {name} " in outcome.out


def test_help_loads_no_command_and_nothing_heavy() -> None:
    modules = modules_after("--help")
    assert modules & HEAVY == set()
    used = {f"agentevo.cli.{mount.module}" for mount in MOUNTS}
    assert modules & used == set()


@pytest.mark.parametrize(
    "mount", [m for m in MOUNTS if m.name in ROOT.commands], ids=lambda m: m.name
)
def test_help_of_a_command_loads_its_own_module_only(mount: Any) -> None:
    modules = modules_after(mount.name, "--help")
    used = {f"agentevo.cli.{each.module}" for each in MOUNTS}
    assert modules & used == {f"agentevo.cli.{mount.module}"}
    assert modules & (HEAVY - {"pydantic", "numpy"}) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example_and_speaks_json(name: str) -> None:
    command = COMMANDS[name]
    assert len((command.help or "").split("\n")[0]) > 10
    assert f"agentevo {name}" in command.help or "agentevo " in command.help.split("Example")[-1]
    assert "Example" in command.help
    assert "--json" in {option for param in command.params for option in param.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    silent = [
        param.name
        for param in COMMANDS[name].params
        if param.param_type_name == "option" and not param.help
    ]
    assert silent == []


def test_a_command_without_its_module_is_not_listed() -> None:
    folder = Path(agentevo.cli.__file__).parent
    present = {path.stem for path in folder.iterdir()}
    assert isinstance(ROOT, LazyGroup)
    assert set(ROOT.commands) <= {mount.name for mount in MOUNTS if mount.module in present}
    assert set(ROOT.commands) >= {"run", "resume", "runs", "envs", "config", "doctor"}


def test_the_version_is_printed(invoke: Callable[..., Any]) -> None:
    outcome = invoke("--version")
    assert (outcome.code, outcome.out.split()[0]) == (0, "agentevo")


@pytest.mark.parametrize("args", [[], ["config"], ["runs"]])
def test_without_a_command_the_help_is_shown_as_wrong_usage(
    args: list[str], invoke: Callable[..., Any]
) -> None:
    outcome = invoke(*args)
    assert outcome.code == 2
    assert "Usage:" in outcome.out + outcome.err
    assert "error:" not in outcome.err


def test_help_works_through_a_pipe_and_without_color(command: Callable[..., Any]) -> None:
    process = command("--help", env={"NO_COLOR": "1", "TERM": "dumb"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
