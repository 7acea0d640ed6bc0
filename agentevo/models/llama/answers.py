"""From the engine's answers to LangChain results, whole or in chunks."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from agentevo.models.llama.messages import to_message, usage
from agentevo.models.llama.prompting import Call
from agentevo.models.llama.request import Completion, Delta
from agentevo.models.llama.sampling import TokenLogprob
from agentevo.models.llama.tool_calls import BrokenCall, ParsedCall, Part, ToolCallParser
from agentevo.models.llama.vocabulary import Vocabulary


def to_result(completions: Sequence[Completion], call: Call) -> ChatResult:
    """Return the answers to one call."""
    generations = []
    for completion in completions:
        metadata = _metadata(completion, call)
        if completion.logprobs:
            metadata["logprobs"] = _logprobs(completion.logprobs, call.engine.model.vocabulary)
        message = to_message(
            _parts(completion.text, call),
            response_metadata=metadata,
            usage_metadata=usage(completion),
        )
        generations.append(ChatGeneration(message=message))
    return ChatResult(generations=generations)


class AnswerStream:
    """Turns the deltas of one answer into chunks."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parser = ToolCallParser() if call.parses_tools else None
        self._calls = 0

    def chunks(self, delta: Delta) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks of one delta; the last one of an answer carries the usage."""
        for part in self._split(delta):
            yield ChatGenerationChunk(message=self._chunk(part))
        metadata: dict[str, Any] = {}
        if delta.logprobs:
            vocabulary = self._call.engine.model.vocabulary
            metadata["logprobs"] = _logprobs(delta.logprobs, vocabulary)
        if delta.completion is not None:
            metadata |= _metadata(delta.completion, self._call)
            message = AIMessageChunk(
                content="",
                response_metadata=metadata,
                usage_metadata=usage(delta.completion),
                chunk_position="last",
            )
            yield ChatGenerationChunk(message=message)
        elif metadata:
            yield ChatGenerationChunk(
                message=AIMessageChunk(content="", response_metadata=metadata)
            )

    def _split(self, delta: Delta) -> list[Part]:
        if self._parser is None:
            return [delta.text] if delta.text else []
        parts = self._parser.push(delta.text)
        return parts + self._parser.finish() if delta.completion is not None else parts

    def _chunk(self, part: Part) -> AIMessageChunk:
        if isinstance(part, str):
            return AIMessageChunk(content=part)
        self._calls += 1
        return AIMessageChunk(content="", tool_call_chunks=[_call_chunk(part, self._calls - 1)])


def stream_answer(call: Call) -> Generator[ChatGenerationChunk]:
    """Yield the first answer to a call; leaving early cancels it."""
    answer = AnswerStream(call)
    generation = call.engine.submit(call.requests[0], stream=True, wait_s=None)
    try:
        for delta in generation:
            yield from answer.chunks(delta)
    finally:
        generation.cancel()


async def astream_answer(call: Call) -> AsyncGenerator[ChatGenerationChunk]:
    """Yield the first answer to a call; leaving early, or cancelling the task, cancels it."""
    answer = AnswerStream(call)
    loop = asyncio.get_running_loop()
    deltas: asyncio.Queue[Delta] = asyncio.Queue()

    def receive(delta: Delta) -> None:
        loop.call_soon_threadsafe(deltas.put_nowait, delta)

    generation = await asyncio.to_thread(
        call.engine.submit, call.requests[0], listener=receive, wait_s=None
    )
    try:
        is_last = False
        while not is_last:
            delta = await deltas.get()
            if delta.error is not None:
                raise delta.error
            is_last = delta.is_last
            for chunk in answer.chunks(delta):
                yield chunk
    finally:
        generation.cancel()


def _call_chunk(part: ParsedCall | BrokenCall, index: int) -> ToolCallChunk:
    """Return one whole call; a broken one keeps its tag so that nobody repairs it silently."""
    if isinstance(part, ParsedCall):
        return tool_call_chunk(name=part.name, args=json.dumps(part.args), id=part.id, index=index)
    return tool_call_chunk(name=None, args=part.text, id=part.id, index=index)


def _parts(text: str, call: Call) -> list[Part]:
    if not call.parses_tools:
        return [text] if text else []
    parser = ToolCallParser()
    return parser.push(text) + parser.finish()


def _metadata(completion: Completion, call: Call) -> dict[str, Any]:
    return {
        "model_name": call.engine.model.name,
        "model_provider": "llamacpp",
        "finish_reason": completion.finish_reason,
        "adapters": dict(completion.adapters.parts),
    }


def _logprobs(entries: Sequence[TokenLogprob], vocabulary: Vocabulary) -> dict[str, Any]:
    def named(token: int, logprob: float) -> dict[str, Any]:
        return {"token": vocabulary.text([token]), "id": token, "logprob": logprob}

    content = [
        {**named(e.token, e.logprob), "top_logprobs": [named(*pair) for pair in e.top]}
        for e in entries
    ]
    return {"content": content}
