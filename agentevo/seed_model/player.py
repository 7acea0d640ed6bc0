"""Playing a task of quirks with a chat model, in process: what the measures are made of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agentevo.prompts import REFLECTION_INSTRUCTIONS, render_reflection
from agentevo.recall import Turn
from agentevo.seed_model.episodes import system_text
from agentevo.seed_model.reflections import parse_rules
from agentevo_environments.packs.quirks import service
from agentevo_environments.task import Task


def tool(name: str) -> dict[str, Any]:
    """Return the schema of a tool that takes one command."""
    parameters = {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    }
    description = "Run one command of the service and see its answer."
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOL = tool("run")


@dataclass(slots=True)
class Played:
    """One played task.

    Attributes:
        solved: Whether the goal was reached.
        turns: What was done and answered.
        valid: Answers of the model that held exactly one valid call of the tool.
        answers: All answers of the model but the closing words after a command that worked.
        output_tokens: Tokens that the model wrote.
        input_tokens: Tokens that it read.
    """

    solved: bool = False
    turns: list[Turn] = field(default_factory=list)
    valid: int = 0
    answers: int = 0
    output_tokens: int = 0
    input_tokens: int = 0

    @property
    def at_once(self) -> bool:
        """Whether it was solved without any error."""
        return self.solved and not any(turn.error for turn in self.turns)


def play(  # noqa: PLR0913 (what is played, with what, and until when)
    model: BaseChatModel,
    task: Task,
    rules: Sequence[str] = (),
    *,
    actions: int,
    errors: int,
    offered: Sequence[str] = ("run",),
) -> Played:
    """Play a task until the goal is reached or a limit is met.

    Args:
        model: Any chat model that can bind tools.
        task: A task of `quirks`.
        rules: The rules in the prompt, oldest first.
        actions: Largest number of commands.
        errors: Number of errors after which it ends.
        offered: Names of the tools that the model may call; only `run` is the right one.
    """
    bound = model.bind_tools([tool(name) for name in offered])
    messages: list[BaseMessage] = [
        SystemMessage(system_text(list(rules))),
        HumanMessage(task.prompt),
    ]
    world: Any = task.data["world"]
    state: dict[str, Any] = {"steps": [], "objects": {}}
    played = Played()
    while len(played.turns) < actions and errors:
        answer = bound.invoke(messages)
        played.answers += 1
        _count(played, answer)
        command = _command(answer)
        if command is None:
            played.answers -= _closes(played, answer)
            break
        played.valid += 1
        text, error = service.answer(world, state, command)
        played.turns.append(Turn(_action(answer), text, error))
        call_id = answer.tool_calls[0]["id"] or "0"
        status = "error" if error else "success"
        messages += [answer, ToolMessage(text, tool_call_id=call_id, status=status)]
        errors -= error
        if state["objects"] == task.data["goal"]:
            played.solved = True
            break
    return played


def reflect(model: BaseChatModel, task: Task, played: Played) -> list[str] | None:
    """Ask for the rules of a played task; None when the answer is not of the right form."""
    question = render_reflection(task.prompt, played.turns)
    answer = model.invoke([SystemMessage(REFLECTION_INSTRUCTIONS), HumanMessage(question)])
    _count(played, answer)
    return parse_rules(str(answer.content))


def ask(model: BaseChatModel, question: str) -> tuple[str, Played]:
    """Ask a question outside any task; return the answer and what it cost."""
    answer, played = model.invoke([HumanMessage(question)]), Played()
    _count(played, answer)
    return answer.text, played


def _count(played: Played, answer: AIMessage) -> None:
    usage = answer.usage_metadata
    if usage:
        played.output_tokens += usage["output_tokens"]
        played.input_tokens += usage["input_tokens"]


def _command(answer: AIMessage) -> str | None:
    if len(answer.tool_calls) != 1 or answer.invalid_tool_calls:
        return None
    call = answer.tool_calls[0]
    command = call["args"].get("command")
    valid = call["name"] == "run" and set(call["args"]) == {"command"} and isinstance(command, str)
    return command if valid else None


def _closes(played: Played, answer: AIMessage) -> bool:
    """Return whether the model ends the episode with a word because its last command worked."""
    worked = bool(played.turns) and not played.turns[-1].error
    calls = answer.tool_calls or answer.invalid_tool_calls
    return worked and not calls and answer.content == "done"


def _action(answer: AIMessage) -> str:
    call = answer.tool_calls[0]
    return json.dumps({"name": call["name"], "arguments": call["args"]})
