"""Sources of scripted models: an environment's known solutions, its decoys, or a script file.

A script file is JSON: a list of answers for every task, or an object that maps task ids (and "*"
for all others) to such lists. An answer is a string, `{"content": ..., "tool_calls": [{"name": ...,
"args": {...}}]}`, or `{"error": "message"}` to fail the call with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolCall

from agentevo.errors import ModelError, UnknownModelError
from agentevo.models.scripted import ScriptedModel
from agentevo_environments.environment import Environment
from agentevo_environments.task import Action, Task

_NOTHING_LEFT = "I have nothing more to do."


@dataclass(frozen=True, slots=True)
class ReplaySource:
    """Replays `environment.oracle(task)` or `environment.decoy(task)`, one action per turn.

    Attributes:
        kind: "oracle" for actions that solve the task, "wrong" for plausible ones that do not.
    """

    kind: Literal["oracle", "wrong"]

    def for_episode(self, environment: Environment, task: Task) -> BaseChatModel:
        """Return a model that does the known actions and then says that it is done.

        Raises:
            ModelError: The environment knows no such actions for this task.
        """
        known = environment.oracle if self.kind == "oracle" else environment.decoy
        actions = known(task)
        if actions is None:
            raise ModelError(
                f"the environment {environment.name!r} has no {known.__name__} for task "
                f"{task.id!r}, so scripted:{self.kind} cannot act on it; choose another model"
            )
        answers = [_answer_of(turn, action) for turn, action in enumerate(actions)]
        return ScriptedModel(
            responses=[*answers, AIMessage(_NOTHING_LEFT)],
            repeat_last=True,
            model_name=f"scripted:{self.kind}",
        )


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """Replays a script per task.

    Attributes:
        scripts: Task id, or "*" for every other task, to its answers.
        name: The name reported in traces.
    """

    scripts: Mapping[str, Sequence[AIMessage | Exception]]
    name: str = "scripted"

    def for_episode(self, environment: Environment, task: Task) -> BaseChatModel:
        """Return a model that replays the task's script.

        Raises:
            ModelError: The script has neither this task nor "*".
        """
        del environment
        answers = self.scripts.get(task.id, self.scripts.get("*"))
        if answers is None:
            raise ModelError(f'{self.name!r} has no answers for task {task.id!r} and none for "*"')
        return ScriptedModel(responses=list(answers), model_name=self.name)


def load_script(path: Path) -> ScriptSource:
    """Read a script file.

    Raises:
        UnknownModelError: The file does not exist or is not a script; the message says where.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnknownModelError(
            f"cannot read the script {str(path)!r}: {error.strerror}"
        ) from error
    except ValueError as error:
        raise UnknownModelError(f"the script {str(path)!r} is not JSON: {error}") from error
    lists = {"*": data} if isinstance(data, list) else data
    if not isinstance(lists, dict) or not all(isinstance(each, list) for each in lists.values()):
        raise UnknownModelError(
            f"the script {str(path)!r} must be a list of answers, or an object of task ids to lists"
        )
    scripts = {
        task: [
            _answer_from(entry, turn, f"{path}: {task}[{turn}]") for turn, entry in enumerate(each)
        ]
        for task, each in lists.items()
    }
    return ScriptSource(scripts, name=f"scripted:{path.name}")


def _answer_of(turn: int, action: Action) -> AIMessage:
    call = ToolCall(
        name=action.tool, args=dict(action.arguments), id=f"call_{turn}", type="tool_call"
    )
    return AIMessage("", tool_calls=[call])


def _answer_from(entry: Any, turn: int, where: str) -> AIMessage | Exception:
    if isinstance(entry, str):
        return AIMessage(entry)
    if isinstance(entry, dict) and set(entry) == {"error"}:
        return ModelError(str(entry["error"]))
    try:
        if unknown := set(entry) - {"content", "tool_calls"}:
            raise ValueError(f"unknown keys {sorted(unknown)}")
        calls = [
            ToolCall(
                name=call["name"], args=call["args"], id=f"call_{turn}_{index}", type="tool_call"
            )
            for index, call in enumerate(entry.get("tool_calls", ()))
        ]
        return AIMessage(entry.get("content", ""), tool_calls=calls)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UnknownModelError(
            f'{where} is not an answer ({error}); write a string, {{"content": ..., "tool_calls": '
            f'[{{"name": ..., "args": {{...}}}}]}} or {{"error": ...}}'
        ) from error
