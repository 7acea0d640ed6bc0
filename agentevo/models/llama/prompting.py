"""From messages and call arguments to requests for the engine."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NotRequired, TypedDict

from langchain_core.messages import BaseMessage

from agentevo.errors import ModelOptionError
from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.errors import ContextOverflowError
from agentevo.models.llama.messages import to_template
from agentevo.models.llama.request import EngineRequest
from agentevo.models.llama.sampling import SamplingOptions
from agentevo.models.llama.template import ChatTemplate
from agentevo.models.llama.tools import (
    answer_grammar,
    resolve_choice,
    tool_name,
    tools_grammar,
)

_SEED_BITS: Final = 31
_ACCEPTED: Final = frozenset(
    {"tools", "tool_choice", "grammar", "client", "answer_schema", "ls_structured_output_format"}
)


class Defaults(TypedDict):
    """Arguments of one call: the model's fields, and what only a call can have."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    max_tokens: int | None
    stop: list[str] | str | None
    timeout: float | None
    n: int
    logprobs: bool
    top_logprobs: int
    adapters: dict[str, float] | None
    tools: NotRequired[list[dict[str, Any]]]
    tool_choice: NotRequired[Any]
    grammar: NotRequired[str]
    client: NotRequired[str]
    answer_schema: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of the chat model asks of the engine.

    Attributes:
        requests: One per answer.
        parses_tools: Whether tool calls in the text are taken out of it.
        engine: Who answers.
    """

    requests: tuple[EngineRequest, ...]
    parses_tools: bool
    engine: LlamaEngine


def prepare(
    engine: LlamaEngine,
    template: ChatTemplate,
    messages: Sequence[BaseMessage],
    given: Defaults,
) -> Call:
    """Return the requests of one call.

    Raises:
        ModelOptionError: An argument is unknown or out of range.
        ModelError: The content is not text.
        ContextOverflowError: The conversation leaves no room for an answer.
        SchemaError: A tool or an answer schema cannot be expressed.
        ValueError: `tool_choice` names no tool.
    """
    if unknown := set(given) - Defaults.__required_keys__ - _ACCEPTED:
        allowed = ", ".join(sorted(Defaults.__required_keys__ | _ACCEPTED))
        raise ModelOptionError(f"unknown argument {sorted(unknown)[0]!r}; allowed: {allowed}")
    tools = given.get("tools") or []
    choice = resolve_choice(given.get("tool_choice"), tools)
    if choice == "none":
        tools = []
    said = [to_template(m, separates_calls=template.separates_calls) for m in messages]
    tokens = tuple(template.tokens(said, tools))
    grammar = _grammar(given, tools, choice, _budget(engine, given, len(tokens)))
    seed = secrets.randbits(_SEED_BITS) if given["seed"] is None else given["seed"]
    requests = [
        EngineRequest(
            tokens=tokens,
            options=_options(given, grammar, seed + i),
            adapters=_adapters(engine, given["adapters"]),
            client=given.get("client", ""),
            timeout_s=given["timeout"],
        )
        for i in range(given["n"])
    ]
    return Call(tuple(requests), parses_tools=bool(tools), engine=engine)


def _budget(engine: LlamaEngine, given: Defaults, prompt_tokens: int) -> int:
    room = engine.n_ctx - prompt_tokens
    if room <= 0:
        raise ContextOverflowError(
            f"the conversation has {prompt_tokens} tokens, the context window {engine.n_ctx}; "
            "shorten it or open the model with a larger n_ctx"
        )
    return room if given["max_tokens"] is None else min(room, given["max_tokens"])


def _grammar(
    given: Defaults, tools: list[dict[str, Any]], choice: str | None, budget: int
) -> str | None:
    if "grammar" in given:
        return given["grammar"]
    if "answer_schema" in given:
        return answer_grammar(given["answer_schema"], budget)
    if choice in (None, "none"):
        return None
    chosen = tools if choice == "any" else [t for t in tools if tool_name(t) == choice]
    return tools_grammar(chosen, budget)


def _options(given: Defaults, grammar: str | None, seed: int) -> SamplingOptions:
    stop = given["stop"] or []
    return SamplingOptions(
        temperature=given["temperature"],
        top_k=given["top_k"],
        top_p=given["top_p"],
        min_p=given["min_p"],
        seed=seed,
        max_tokens=given["max_tokens"],
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        grammar=grammar,
        top_logprobs=given["top_logprobs"] if given["logprobs"] else None,
    )


def _adapters(engine: LlamaEngine, scales: Mapping[str, float] | None) -> AdapterSet | None:
    return None if scales is None else engine.adapter_set(scales)
