"""The OpenAI chat format: requests as they come in, answers and chunks as they go out.

Only what the engine really does is accepted; any other field is refused by name, never ignored.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.messages.ai import UsageMetadata
from pydantic import BaseModel, ConfigDict, Field

from agentevo.errors import ModelError

_AS_THEY_ARE = (
    "temperature", "top_p", "top_k", "min_p", "seed", "n", "stop", "logprobs", "top_logprobs",
    "tools", "tool_choice", "grammar",
)  # fmt: skip


class StreamOptions(BaseModel):
    """How a stream ends; `include_usage` adds a last chunk with the token counts."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class JSONSchemaFormat(BaseModel):
    """The schema of an answer; the grammar always binds it, so `strict` changes nothing."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str = ""
    description: str = ""
    strict: bool | None = None
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """Whether an answer is text, any JSON object, or JSON of a schema."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchemaFormat | None = None


class ChatRequest(BaseModel):
    """The body of a request for a chat completion.

    Fields mean what OpenAI's documentation says; `top_k`, `min_p` and `grammar` (GBNF) are the
    engine's own. A field that is left out has the served model's default.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=100)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    grammar: str | None = None
    user: str | None = None
    presence_penalty: Annotated[float | None, Field(ge=0, le=0)] = None
    frequency_penalty: Annotated[float | None, Field(ge=0, le=0)] = None

    def conversation(self) -> list[BaseMessage]:
        """Return the messages.

        Raises:
            ModelError: One of them has no known form.
        """
        try:
            return convert_to_messages(self.messages)
        except (ValueError, TypeError, LookupError, NotImplementedError, AttributeError) as error:
            raise ModelError(f"the messages cannot be read: {error}") from error

    def arguments(self) -> dict[str, Any]:
        """Return what the chat model is called with.

        Raises:
            ModelError: Two fields contradict each other.
        """
        given = {name: getattr(self, name) for name in _AS_THEY_ARE}
        longest = self.max_completion_tokens or self.max_tokens
        given |= {"max_tokens": longest, "client": self.user}
        form = self.response_format
        if form is not None and form.type != "text":
            given["answer_schema"] = _schema(form)
        if self.stream and (self.n or 1) > 1:
            raise ModelError(f"n is {self.n} and stream is on; stream one answer at a time")
        return {name: value for name, value in given.items() if value is not None}

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return self.stream_options is not None and self.stream_options.include_usage


def _schema(form: ResponseFormat) -> dict[str, Any]:
    if form.type == "json_object":
        return {"type": "object"}
    if form.json_schema is None:
        raise ModelError("response_format has type 'json_schema' but no json_schema; add it")
    return form.json_schema.schema_


@dataclass(frozen=True, slots=True)
class Reply:
    """The frame of one answer: what all its parts have in common.

    Attributes:
        model: The name that was asked for.
        fingerprint: Hash of the base model and the adapters that answer.
    """

    model: str
    fingerprint: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, messages: Sequence[AIMessage]) -> dict[str, Any]:
        """Return whole answers to one prompt."""
        choices = [
            {
                "index": i,
                "message": _message(message),
                "logprobs": message.response_metadata.get("logprobs"),
                "finish_reason": _finish_reason(message, bool(message.tool_calls)),
            }
            for i, message in enumerate(messages)
        ]
        counts = [message.usage_metadata for message in messages if message.usage_metadata]
        return self._frame("chat.completion", choices) | {"usage": _usage(counts)}

    def first_chunk(self) -> dict[str, Any]:
        """Return the chunk that opens a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def chunks(self, chunk: AIMessageChunk, *, called: bool, usage: bool) -> list[dict[str, Any]]:
        """Return what one chunk of the chat model becomes.

        Args:
            chunk: From the chat model.
            called: Whether the answer called a tool so far.
            usage: Whether the token counts are wanted at the end.
        """
        delta: dict[str, Any] = {}
        text = chunk.text + "".join(c["args"] or "" for c in _broken(chunk))
        if text:
            delta["content"] = text
        if calls := [c for c in chunk.tool_call_chunks if c["name"]]:
            delta["tool_calls"] = [
                {"index": c["index"], **_function(c, c["args"] or "")} for c in calls
            ]
        logprobs = chunk.response_metadata.get("logprobs")
        made = [self._chunk(delta, logprobs=logprobs)] if delta or logprobs else []
        if chunk.response_metadata.get("finish_reason"):
            made.append(self._chunk({}, reason=_finish_reason(chunk, called)))
            if usage and chunk.usage_metadata:
                frame = self._frame("chat.completion.chunk", [])
                made.append(frame | {"usage": _usage([chunk.usage_metadata])})
        return made

    def _chunk(
        self, delta: dict[str, Any], *, reason: str | None = None, logprobs: Any = None
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._frame("chat.completion.chunk", [choice])

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**head, "system_fingerprint": self.fingerprint, "choices": choices}


def _message(message: AIMessage) -> dict[str, Any]:
    broken = "".join(call["args"] or "" for call in message.invalid_tool_calls)
    made: dict[str, Any] = {"role": "assistant", "content": message.text + broken or None}
    if message.tool_calls:
        made["tool_calls"] = [
            _function(call, json.dumps(call["args"], ensure_ascii=False))
            for call in message.tool_calls
        ]
    elif made["content"] is None:
        made["content"] = ""
    return made


def _broken(chunk: AIMessageChunk) -> list[Any]:
    """Return calls that are none; their text is not lost but part of the answer."""
    return [call for call in chunk.tool_call_chunks if not call["name"]]


def _function(call: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": function}


def _finish_reason(message: AIMessage, called: bool) -> str:
    reason = str(message.response_metadata["finish_reason"])
    return "tool_calls" if called and reason == "stop" else reason


def _usage(counts: Sequence[UsageMetadata]) -> dict[str, Any]:
    """Return the counts of answers that share one prompt."""
    prompt = counts[0]["input_tokens"]
    answers = sum(count["output_tokens"] for count in counts)
    cached = counts[0].get("input_token_details", {}).get("cache_read", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answers,
        "total_tokens": prompt + answers,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
