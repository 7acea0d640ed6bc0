"""`ScriptedModel`: a chat model that replays given answers; no language model is involved.

Which answer comes next follows from the conversation itself (the number of answers already in it),
not from a counter. So one instance serves any number of conversations from any number of threads,
and a resumed episode goes on where it was.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PlainValidator

from agentevo.errors import ModelError

_CHARACTERS_PER_TOKEN = 4


def _entry(value: Any) -> AIMessage | Exception:
    if isinstance(value, AIMessage | Exception):
        return value
    if isinstance(value, str):
        return AIMessage(value)
    raise ValueError(
        f"{value!r} is no answer: give a string, an AIMessage or an exception to raise"
    )


class ScriptedModel(BaseChatModel):
    """A chat model that gives the answers of its script, one per turn of the conversation.

    Its usage metadata counts one token per four characters.
    """

    responses: list[Annotated[AIMessage | Exception, PlainValidator(_entry)]]
    """The script: what to answer, or the error to raise, at each turn of a conversation. Strings
    are accepted as answers."""
    repeat_last: bool = False
    """Whether turns after the end of the script get its last entry again, instead of an error."""
    model_name: str = "scripted"
    """The name reported in traces."""
    temperature: float | None = None
    """Accepted as by every chat model; changes nothing."""
    max_tokens: int | None = None
    """Likewise."""
    timeout: float | None = None
    """Likewise."""
    max_retries: int | None = None
    """Likewise."""
    stop: list[str] | None = None
    """Default stop sequences: an answer's text ends before the first of them."""

    @property
    def _llm_type(self) -> str:
        return "agentevo-scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "responses": len(self.responses)}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        name = str(kwargs.get("model", self.model_name))
        params = LangSmithParams(ls_provider="agentevo", ls_model_name=name, ls_model_type="chat")
        if self.temperature is not None:
            params["ls_temperature"] = self.temperature
        if self.max_tokens is not None:
            params["ls_max_tokens"] = self.max_tokens
        if stop or self.stop:
            params["ls_stop"] = stop or self.stop
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools attached; they do not change what the script says."""
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=formatted, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._answer(messages, stop or self.stop)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for message in _chunks_of(self._answer(messages, stop or self.stop)):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(str(message.content), chunk=chunk)
            yield chunk

    def _answer(self, messages: Sequence[BaseMessage], stop: list[str] | None) -> AIMessage:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        if self.repeat_last:
            turn = min(turn, len(self.responses) - 1)
        if not 0 <= turn < len(self.responses):
            raise ModelError(
                f"the script of {self.model_name!r} has {len(self.responses)} answers, and the "
                f"conversation asks for number {turn + 1}; add an answer or set repeat_last"
            )
        scripted = self.responses[turn]
        if isinstance(scripted, Exception):
            raise scripted
        content = _cut(scripted.text, stop) if stop else scripted.content
        return AIMessage(
            content=content,
            tool_calls=scripted.tool_calls,
            invalid_tool_calls=scripted.invalid_tool_calls,
            usage_metadata=scripted.usage_metadata or _usage(messages, scripted),
            response_metadata={"model_name": self.model_name, "model_provider": "agentevo"},
        )


def _cut(text: str, stop: Sequence[str]) -> str:
    return text[: min([text.find(end) for end in stop if end in text], default=len(text))]


def _usage(prompt: Sequence[BaseMessage], answer: AIMessage) -> UsageMetadata:
    calls = json.dumps([[call["name"], call["args"]] for call in answer.tool_calls], default=str)
    read = sum(_tokens(message.text) for message in prompt)
    written = _tokens(answer.text) + (_tokens(calls) if answer.tool_calls else 0)
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def _tokens(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _chunks_of(answer: AIMessage) -> Iterator[AIMessageChunk]:
    for piece in answer.text.splitlines(keepends=True):
        yield AIMessageChunk(content=piece)
    position: Literal["last"] = "last"
    yield AIMessageChunk(
        content="",
        tool_call_chunks=[
            tool_call_chunk(
                name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index
            )
            for index, call in enumerate(answer.tool_calls)
        ]
        + [
            tool_call_chunk(name=bad["name"], args=bad["args"], id=bad["id"], index=None)
            for bad in answer.invalid_tool_calls
        ],
        usage_metadata=answer.usage_metadata,
        response_metadata=answer.response_metadata,
        chunk_position=position,
    )
