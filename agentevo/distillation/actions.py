"""What an assistant's message does: its tool calls, or its words when it calls nothing."""

import json
from collections.abc import Mapping
from typing import Any

from agentevo.distillation.rows import Message

Action = tuple[str, ...]


def action_of(message: Message) -> Action:
    """Return the calls of a message as `name arguments`, arguments in a fixed order of keys.

    A message without calls does what it says; what is said beside a call changes nothing.
    """
    calls = message.get("tool_calls") or ()
    if calls:
        return tuple(_call(call["function"]) for call in calls)
    return (" ".join(str(message.get("content") or "").split()),)


def has_call(message: Message) -> bool:
    """Return whether a message calls a tool with readable arguments."""
    calls = message.get("tool_calls") or ()
    return bool(calls) and all(_arguments(call["function"]) is not None for call in calls)


def _call(function: Mapping[str, Any]) -> str:
    arguments = _arguments(function)
    shown = function["arguments"] if arguments is None else json.dumps(arguments, sort_keys=True)
    return f"{function['name']} {shown}"


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any] | None:
    given = function["arguments"]
    if isinstance(given, Mapping):
        return given
    try:
        value = json.loads(given)
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None
