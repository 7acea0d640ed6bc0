"""Tools as a chat model sees them: choosing which may be called and binding the answer to them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentevo.models.llama.gbnf import either, literal
from agentevo.models.llama.grammar import Bounds, GrammarBuilder, json_grammar
from agentevo.models.llama.tool_calls import CLOSE, OPEN

_ANY: Final = frozenset({"any", "required"})
_ITEMS: Final = 8
_LEAST_STRING, _MOST_STRING = 12, 1024

Tool = Mapping[str, Any]


def resolve_choice(
    choice: str | bool | Mapping[str, Any] | None, tools: Sequence[Tool]
) -> str | None:
    """Return what LangChain's `tool_choice` means: None, "none", "any", or the name of a tool.

    Raises:
        ValueError: It names no tool, or there is none to choose.
    """
    if isinstance(choice, Mapping):
        choice = choice.get("function", choice).get("name")
    if choice is None or choice is False or choice == "auto":
        return None
    if choice == "none":
        return "none"
    names = [tool_name(tool) for tool in tools]
    if not names:
        raise ValueError(f"tool_choice is {choice!r}, but there are no tools; bind some first")
    if choice is True or choice in _ANY:
        return "any"
    if choice not in names:
        raise ValueError(
            f"tool_choice is {choice!r}; allowed: auto, any, none, or one of {', '.join(names)}"
        )
    return str(choice)


def tool_name(tool: Tool) -> str:
    """Return the name in an OpenAI tool definition."""
    return str(tool["function"]["name"])


def tools_grammar(tools: Sequence[Tool], budget_tokens: int) -> str:
    """Return the grammar of exactly one call of one of `tools`, with arguments that fit it.

    Raises:
        SchemaError: The arguments of a tool cannot be expressed.
    """
    schemas = [_parameters(tool) for tool in tools]
    builder = GrammarBuilder(max((fit_bounds(s, budget_tokens) for s in schemas), key=_tightness))
    calls = []
    for tool, schema in zip(tools, schemas, strict=True):
        head = literal(f'{OPEN}\n{{"name": {json.dumps(tool_name(tool))}, "arguments": ')
        calls.append(f"{head} {builder.add(schema)}")
    end = literal(f"}}\n{CLOSE}")
    return builder.text(f"{either(calls)} {end}")


def answer_grammar(schema: Mapping[str, Any], budget_tokens: int) -> str:
    """Return the grammar of an answer that is JSON under `schema`, sized to fit the budget.

    Raises:
        SchemaError: The schema cannot be expressed.
    """
    return json_grammar(schema, fit_bounds(schema, budget_tokens))


def fit_bounds(schema: Mapping[str, Any], budget_tokens: int) -> Bounds:
    """Return limits under which an answer of `budget_tokens` tokens most likely completes."""
    strings = max(1, _count_strings(schema))
    string = max(_LEAST_STRING, min(_MOST_STRING, budget_tokens // (2 * strings)))
    return Bounds(string=string, items=_ITEMS)


def _tightness(bounds: Bounds) -> int:
    return -bounds.string


def _parameters(tool: Tool) -> Mapping[str, Any]:
    given = tool["function"].get("parameters")
    return given or {"type": "object", "properties": {}, "additionalProperties": False}


def _count_strings(schema: Any) -> int:
    """Count the strings a value may hold; an open array counts as full."""
    if isinstance(schema, list):
        return sum(_count_strings(item) for item in schema)
    if not isinstance(schema, Mapping):
        return 0
    times = schema.get("maxItems", _ITEMS) if "items" in schema else 1
    here = int("string" in str(schema.get("type", "")) and "enum" not in schema)
    return here + times * sum(_count_strings(value) for value in schema.values())
