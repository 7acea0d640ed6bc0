"""LangChain messages to what chat templates take, and answers back to LangChain messages."""

import json
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata

from agentevo.errors import ModelError
from agentevo.models.llama.request import Completion
from agentevo.models.llama.tool_calls import BrokenCall, ParsedCall, Part

_IGNORED_BLOCKS: Final = frozenset(
    {"tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "reasoning", "thinking"}
)


def to_template(message: BaseMessage, *, separates_calls: bool) -> dict[str, Any]:
    """Return the template's form of a message.

    Args:
        message: Any LangChain message with text content.
        separates_calls: Whether the template itself breaks the line before a tool call.

    Raises:
        ModelError: The content is not text, or the message type is unknown.
    """
    text = _text(message)
    match message:
        case AIMessage():
            text += "".join(call["args"] or "" for call in message.invalid_tool_calls)
            calls = [_call(call) for call in message.tool_calls]
            joined = text.rstrip() if calls and separates_calls else text
            more = {"tool_calls": calls} if calls else {}
            return {"role": "assistant", "content": joined, **more}
        case HumanMessage() | SystemMessage():
            role = "user" if isinstance(message, HumanMessage) else "system"
            return {"role": role, "content": text}
        case ToolMessage() | FunctionMessage():
            named = {"role": "tool", "content": text, "name": message.name or ""}
            call = getattr(message, "tool_call_id", None)
            return named if call is None else {**named, "tool_call_id": call}
        case ChatMessage():
            return {"role": message.role, "content": text}
    raise ModelError(f"a {type(message).__name__} cannot be sent to a local model")


def to_message(parts: Sequence[Part], **fields: Any) -> AIMessage:
    """Return the message of an answer that was parsed into `parts`."""
    return AIMessage(
        content="".join(part for part in parts if isinstance(part, str)),
        tool_calls=[
            ToolCall(name=p.name, args=p.args, id=p.id, type="tool_call")
            for p in parts
            if isinstance(p, ParsedCall)
        ],
        invalid_tool_calls=[
            InvalidToolCall(
                name=None, args=p.text, id=p.id, error=p.error, type="invalid_tool_call"
            )
            for p in parts
            if isinstance(p, BrokenCall)
        ],
        **fields,
    )


def usage(completion: Completion) -> UsageMetadata:
    """Return how many tokens an answer took."""
    return UsageMetadata(
        input_tokens=completion.prompt_tokens,
        output_tokens=len(completion.tokens),
        total_tokens=completion.prompt_tokens + len(completion.tokens),
        input_token_details={"cache_read": completion.cached_tokens},
    )


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(_block_text(block) for block in message.content)


def _block_text(block: str | dict[str, Any]) -> str:
    if isinstance(block, str):
        return block
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text", ""))
    if kind in _IGNORED_BLOCKS:
        return ""
    if kind == "json":
        return json.dumps(block.get("json"))
    raise ModelError(f"content of type {kind!r} cannot be sent; local models take text only")


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["args"]}
    return {"id": call["id"], "type": "function", "function": function}
