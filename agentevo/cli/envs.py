"""`agentevo envs`: which environments there are, what they want, whether they keep the contract."""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.context import SetOption, settings_of
from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, emit, stderr_console, stdout_console, table
from agentevo_environments.environment import Environment
from agentevo_environments.errors import EnvironmentsError, UnknownNameError
from agentevo_environments.task import Task

if TYPE_CHECKING:
    from agentevo.config import Settings

app = typer.Typer(help="List, check and play environments.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(metavar="ENVIRONMENT", help="Name, or package.module:Class.")
]
TasksOption = Annotated[Path | None, typer.Option("--tasks", help="Task file.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the environments that are installed.

    Example: agentevo envs list
    """
    from agentevo_environments.registry import environment_names

    entries = [_summary(name) for name in environment_names()]
    rows = [(entry["id"], entry["sandbox"], entry["summary"]) for entry in entries]
    human = table(["environment", "sandbox", "what it is"], rows)
    emit(ctx, {"environments": entries}, as_json=as_json, human=human)


@app.command()
def info(
    ctx: typer.Context,
    name: NameArgument,
    tasks: TasksOption = None,
    sets: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show an environment: options, tools, instructions and first tasks.

    Options are given to every command as --set env.options.NAME=VALUE.

    Example: agentevo envs info code
    """
    settings = _settings(ctx, name, tasks, sets)
    with _opened(settings) as environment:
        chosen = environment.tasks(settings.env.split, None, settings.env.seed)
        data = {
            **_summary(name),
            "options": _options(name),
            "step_limit": environment.step_limit,
            "instructions": environment.instructions,
            "tools": [asdict(tool) for tool in environment.tools()],
            "tasks": len(chosen),
            "split": settings.env.split,
            "first_tasks": [{"id": task.id, "prompt": task.prompt} for task in chosen[:3]],
        }
    emit(ctx, data, as_json=as_json, human=list(_info_text(data)))


@app.command()
def validate(
    ctx: typer.Context,
    name: NameArgument,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Tasks to try. Default: all.")] = None,
    tasks: TasksOption = None,
    sets: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check an environment: the contract, and that known solutions pass and known failures do not.

    Exit code 1 when something is wrong.

    Example: agentevo envs validate code --n 3
    """
    from agentevo_environments.conformance import Validation
    from agentevo_environments.conformance import validate as check_known

    settings = _settings(ctx, name, tasks, sets)
    contract = {check: _finding(run) for check, run in _contract_checks(settings)}
    played: list[Validation] = []

    def play_known() -> None:
        with _opened(settings) as environment:
            chosen = settings.env
            played.append(check_known(environment, n, split=chosen.split, seed=chosen.seed))

    problem = _finding(play_known)
    known = played[0] if played else Validation(0, 0, 0, 0, 0, (problem,))
    ok = known.ok and not any(contract.values())
    data = {"id": name, "ok": ok, "contract": contract, **asdict(known)}
    human: list[Any] = [
        table(["contract", "finding"], [(check, why or "ok") for check, why in contract.items()]),
        f"{known.oracles_solved} of {known.oracles} known solutions solve their task",
        f"{known.decoys_refused} of {known.decoys} known failures are refused",
        *known.problems,
        f"{name}: {'valid' if ok else 'not valid'}, {known.tasks} tasks",
    ]
    emit(ctx, data, as_json=as_json, human=human)
    if not ok:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def play(
    ctx: typer.Context,
    name: NameArgument,
    task: Annotated[str | None, typer.Option(help="Task id. Default: the first.")] = None,
    tasks: TasksOption = None,
    sets: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Play a task yourself, through the agent's tools; commands come from stdin.

    Example: echo 'submit x = 1' | agentevo envs play code
    """
    from agentevo.cli import play as game

    settings = _settings(ctx, name, tasks, sets)
    console = stderr_console() if as_json else stdout_console()
    with _opened(settings) as environment:
        chosen = _find_task(environment, settings, task)
        prompt = "> " if sys.stdin.isatty() else ""
        played = game.play(
            environment,
            chosen,
            lines=_typed_lines(prompt),
            say=lambda text: console.print(text, soft_wrap=True),
        )
    grade = played.grade
    data = {
        "id": chosen.id,
        "turns": [
            {"action": asdict(action), "observation": asdict(seen)} for action, seen in played.turns
        ],
        "grade": asdict(grade),
    }
    verdict = "solved" if grade.solved else "not solved"
    human = f"{verdict}, score {grade.score:.2f}: {grade.detail}"
    emit(ctx, data, as_json=as_json, human=human)


def _summary(name: str) -> dict[str, Any]:
    from agentevo_environments.registry import environment_class

    try:
        kind = environment_class(name)
    except UnknownNameError:
        raise
    except EnvironmentsError as error:  # one broken plugin must not hide the others
        return {"id": name, "sandbox": "?", "summary": f"broken: {error}"}
    summary = (inspect.getdoc(kind) or "").split("\n")[0]
    return {"id": name, "sandbox": "yes" if kind.needs_sandbox else "no", "summary": summary}


def _options(name: str) -> dict[str, dict[str, Any]]:
    """Return the options of an environment, with what its class says about each."""
    from agentevo_environments.registry import environment_class, environment_options

    told = inspect.getdoc(environment_class(name)) or ""
    return {
        option: {
            "type": inspect.formatannotation(parameter.annotation),
            "default": _default(parameter),
            "meaning": _meaning(told, option),
        }
        for option, parameter in environment_options(name).items()
    }


def _meaning(told: str, option: str) -> str:
    """Return the entry of an option among the `Args:` of a Google-style docstring, "" if none."""
    found = re.search(rf"^    {option}:((?:.*\n?)(?:     +.*\n?)*)", told, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def _settings(
    ctx: typer.Context, name: str, tasks: Path | None, sets: list[str] | None
) -> "Settings":
    return settings_of(ctx, {"env": {"name": name, "tasks": tasks}}, sets=sets)


def _contract_checks(settings: "Settings") -> Iterator[tuple[str, Callable[[], None]]]:
    from agentevo.runtime import environment_of
    from agentevo_environments.conformance import ENVIRONMENT_CHECKS

    for name, check in ENVIRONMENT_CHECKS.items():
        yield name, partial(check, partial(environment_of, settings))


def _finding(check: Callable[[], None]) -> str:
    """Return what is wrong, "" if nothing; a bug of the environment is a finding as well."""
    from agentevo_environments.conformance import ConformanceError

    try:
        check()
    except ConformanceError as error:
        return str(error)
    except EnvironmentsError:
        raise
    except Exception as error:  # noqa: BLE001 (code of a third party, see the docstring)
        return f"the environment raises {type(error).__name__}: {error}"
    return ""


@contextmanager
def _opened(settings: "Settings") -> Iterator[Environment]:
    from agentevo.runtime import environment_of

    environment = environment_of(settings)
    try:
        yield environment
    finally:
        environment.close()


def _find_task(environment: Environment, settings: "Settings", name: str | None) -> Task:
    tasks = environment.tasks(settings.env.split, None, settings.env.seed)
    for task in tasks:
        if name in (None, task.id):
            return task
    ids = [task.id for task in tasks]
    near = difflib.get_close_matches(name or "", ids, n=3) or ids[:3]
    raise UnknownNameError(
        f"{settings.env.name!r} has no task {name!r}; there are {len(ids)}, such as: "
        f"{', '.join(map(repr, near))}"
    )


def _typed_lines(prompt: str) -> Iterator[str]:
    while True:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


def _default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is parameter.empty else parameter.default


def _info_text(data: dict[str, Any]) -> Iterator[Any]:
    yield f"{data['id']}: {data['summary']}"
    yield f"{data['tasks']} tasks in the split {data['split']!r}, at most {data['step_limit']} actions"
    yield f"instructions: {data['instructions']}"
    tools = [(tool["name"], tool["description"]) for tool in data["tools"]]
    yield table(["tool", "what it does"], tools)
    options = [
        (f"{name} = {option['default']}", option["meaning"] or option["type"])
        for name, option in data["options"].items()
    ]
    if options:
        yield table(["option and its default", "what it means"], options)
        yield "options are given as --set env.options.NAME=VALUE, or in agentevo.toml"
    yield table(
        ["first tasks", "prompt"], [(each["id"], each["prompt"]) for each in data["first_tasks"]]
    )
