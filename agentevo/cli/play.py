"""A person takes the agent's place: commands from a terminal or a pipe become actions.

One action per command: `TOOL {"argument": ...}`, or `TOOL text` for a tool that takes one text, or
`TOOL <<END` and then lines up to `END` for a longer one. `/tools`, `/task` and `/quit` are for the
player. End of input ends the episode.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentevo_environments.environment import Environment
from agentevo_environments.task import Action, Grade, JSONValue, Observation, Task, ToolSpec

HELP = (
    'TOOL {"argument": ...}  do something; a tool with one text takes it as it is\n'
    "TOOL <<END              the same, with all lines up to END\n"
    "/tools  /task  /quit    show the tools, show the task, end here"
)


@dataclass(frozen=True, slots=True)
class Played:
    """A finished game: what was done, what was answered, and the verdict."""

    turns: tuple[tuple[Action, Observation], ...]
    grade: Grade


class InputError(ValueError):
    """A line that is no command; the message says how to write it."""


def play(
    environment: Environment, task: Task, *, lines: Iterator[str], say: Callable[[str], None]
) -> Played:
    """Play one episode.

    Args:
        environment: An instance of its own; it is reset first and graded at the end.
        task: The task to play.
        lines: What the player types, without line ends.
        say: Shows the player a text.
    """
    first = environment.reset(task)
    say("\n\n".join(filter(None, (task.prompt, first.text, _list_tools(environment), HELP))))
    turns: list[tuple[Action, Observation]] = []
    done = first.done
    while not done and len(turns) < environment.step_limit:
        line = next(lines, "/quit").rstrip()
        if line == "/quit":
            break
        if not line or line.startswith("/"):
            say(_answer(line, environment, task) if line else "")
            continue
        try:
            action = read_action(line, lines, environment)
        except InputError as error:
            say(str(error))
            continue
        observation = environment.step(action)
        turns.append((action, observation))
        say(("! " if observation.error else "") + observation.text)
        done = observation.done
    return Played(tuple(turns), environment.grade())


def read_action(line: str, lines: Iterator[str], environment: Environment) -> Action:
    """Return the action that a command line (and lines after it) stands for.

    Raises:
        InputError: The tool does not exist or its arguments cannot be read.
    """
    name, _, rest = line.partition(" ")
    tools = {tool.name: tool for tool in environment.tools()}
    if name not in tools:
        raise InputError(f"there is no tool {name!r}; there are: {', '.join(tools)}")
    text = rest.strip()
    if text.startswith("<<"):
        return Action(name, {_text_argument(tools[name]): _until(text[2:].strip(), lines)})
    if text.startswith("{") or not text:
        return Action(name, _json_object(text or "{}"))
    return Action(name, {_text_argument(tools[name]): text})


def _json_object(text: str) -> dict[str, JSONValue]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"these arguments are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"arguments are a JSON object, not {value!r}")
    return value


def _text_argument(tool: ToolSpec) -> str:
    names = _names(tool, "required") or _names(tool, "properties")
    if len(names) != 1:
        raise InputError(
            f"{tool.name!r} takes {len(names)} arguments ({', '.join(names)}); "
            f'write them as {tool.name} {{"name": value, ...}}'
        )
    return names[0]


def _names(tool: ToolSpec, key: str) -> list[str]:
    listed = tool.parameters.get(key)
    return [str(name) for name in listed] if isinstance(listed, list | dict) else []


def _until(end: str, lines: Iterator[str]) -> str:
    taken = []
    for line in lines:
        if line.strip() == (end or "END"):
            break
        taken.append(line)
    return "\n".join(taken) + "\n"


def _answer(line: str, environment: Environment, task: Task) -> str:
    return {"/tools": _list_tools(environment), "/task": task.prompt}.get(line, HELP)


def _list_tools(environment: Environment) -> str:
    return "\n".join(
        f"{tool.name}({', '.join(_names(tool, 'properties'))}): {tool.description}"
        for tool in environment.tools()
    )
