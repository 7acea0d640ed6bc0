"""Tool calls: from a model's answer to actions in the environment, and back to tool messages.

A call that cannot be done (malformed arguments, an unknown tool, no actions left) becomes an error
that the model can read, never an exception.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from agentevo_environments.environment import Environment
from agentevo_environments.task import Action, Observation


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of an answer.

    Attributes:
        action: What to do; its id is `<episode id>/<actions before the answer>/<position>`.
        call_id: The model's own id of the call.
        malformed: Why the arguments could not be read; "" when they could.
    """

    action: Action
    call_id: str
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call and what came of it.

    Attributes:
        call: The call.
        observation: What the agent sees.
        counted: Whether it used up an action.
    """

    call: Call
    observation: Observation
    counted: bool


def calls_of(message: BaseMessage, prefix: str) -> list[Call]:
    """Return the calls of an answer, well-formed ones first; `prefix` starts the action ids."""
    if not isinstance(message, AIMessage):
        return []
    calls = [
        Call(Action(call["name"], call["args"], f"{prefix}/{index}"), call["id"] or f"call_{index}")
        for index, call in enumerate(message.tool_calls)
    ]
    for index, bad in enumerate(message.invalid_tool_calls, start=len(calls)):
        action = Action(bad["name"] or "", {}, f"{prefix}/{index}")
        reason = bad["error"] or f"not a JSON object: {bad['args']!r:.200}"
        calls.append(Call(action, bad["id"] or f"call_{index}", malformed=reason))
    return calls


def do_calls(environment: Environment, calls: Sequence[Call], left: int) -> list[CallResult]:
    """Do `calls` in order, at most `left` of them, and none after the episode has ended."""
    tools = {tool.name for tool in environment.tools()}
    results: list[CallResult] = []
    done = False
    for call in calls:
        refusal = _refusal(call, tools)
        if done or left <= 0:
            reason = "the episode has ended" if done else "no actions are left"
            observation, counted = Observation(f"Not done: {reason}.", error=True), False
        elif refusal:
            observation, counted = Observation(refusal, error=True), True
        else:
            observation, counted = environment.step(call.action), True
        results.append(CallResult(call, observation, counted))
        left -= counted
        done = done or observation.done
    return results


def tool_message(result: CallResult) -> ToolMessage:
    """Return what the model is told about a call."""
    return ToolMessage(
        result.observation.text,
        tool_call_id=result.call.call_id,
        name=result.call.action.tool or None,
        status="error" if result.observation.error else "success",
    )


def render_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call as one line of JSON, the form in which models write it."""
    return json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False, default=str)


def _refusal(call: Call, tools: set[str]) -> str:
    if call.malformed:
        return f"Not done: the arguments of {call.action.tool!r} are malformed ({call.malformed})."
    if call.action.tool not in tools:
        return f"Not done: there is no tool {call.action.tool!r}; there are: {', '.join(sorted(tools))}."
    return ""
