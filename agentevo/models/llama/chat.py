"""`ChatLlamaEngine`: a local model as a LangChain chat model, on a `LlamaEngine`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr

from agentevo.models.llama.answers import astream_answer, stream_answer, to_result
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.prompting import Call, Defaults, prepare
from agentevo.models.llama.structured import (
    Method,
    StructuredParser,
    schema_of,
    target_of,
    with_raw,
)
from agentevo.models.llama.template import ChatTemplate
from agentevo.models.llama.tools import resolve_choice, tool_name
from agentevo.models.llama.uri import parse_uri, shared_engine

_Tools = Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool]


class ChatLlamaEngine(BaseChatModel):
    """A chat model that runs in this process. Safe to use from several threads and event loops.

    Every sampling field may also be given per call. Further per-call arguments are `tools`,
    `tool_choice`, `grammar` (GBNF), `n` (answers per prompt) and `client` (who takes turns).

    Attributes:
        engine: What computes; several chat models may share one.
        temperature: 0 is greedy.
        top_k: 0 is no limit.
        top_p: From 0 to 1.
        min_p: From 0 to 1.
        seed: Of the sampling, None for another one every time; answer i of `n` uses seed + i.
        max_tokens: Longest answer; None is what the context window leaves.
        stop: Texts that end an answer.
        timeout: Seconds until a request fails, waiting included.
        max_retries: Accepted for interchangeability; a local engine has no transient failures.
        api_key: Accepted for interchangeability and never used.
        streaming: Whether `invoke` streams internally, for callbacks that watch tokens.
        n: Answers per prompt.
        logprobs: Whether `response_metadata` reports log-probabilities.
        top_logprobs: How many alternatives per token it reports.
        adapters: Loaded adapter to scale; None follows the engine's `swap`, {} is the base model.
        chat_template: Instead of the model's own.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    engine: LlamaEngine = Field(exclude=True, repr=False)
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    max_tokens: int | None = None
    stop: list[str] | str | None = None
    timeout: float | None = None
    max_retries: int | None = None
    api_key: Any = Field(default=None, exclude=True, repr=False)
    streaming: bool = False
    n: int = Field(default=1, ge=1)
    logprobs: bool = False
    top_logprobs: int = 0
    adapters: dict[str, float] | None = None
    chat_template: str | None = None
    _template: ChatTemplate = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Compile the chat template.

        Raises:
            TemplateError: There is none, or it is not valid.
        """
        super().model_post_init(context)
        self._template = ChatTemplate.of(self.engine.model, self.chat_template)
        if self.profile is None:
            self.profile = ModelProfile(max_input_tokens=self.engine.n_ctx, tool_calling=True)

    @classmethod
    def from_uri(cls, uri: str = "", **options: Any) -> Self:
        """Return the model of a line such as "model.gguf?n_ctx=4096&lora=adapter.gguf".

        Args:
            uri: Path of a GGUF file and options of engine and sampling; "" is the seed model.
            options: Fields of this class, over what the line says.

        Raises:
            ModelError: The file cannot be loaded, or an option is unknown.
        """
        parsed = parse_uri(uri)
        engine = shared_engine(parsed)
        given: dict[str, Any] = dict(parsed.sampling)
        if parsed.loras:
            loaded = [(engine.model.adapters.load(path).id, s) for path, s in parsed.loras]
            given["adapters"] = dict(loaded)
        return cls(engine=engine, **{**given, **options})

    @property
    def model_name(self) -> str:
        """Name of the model in its file."""
        return self.engine.model.name

    @property
    def _llm_type(self) -> str:
        return "llama-engine"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        own = {"model_name": self.model_name, "model_sha256": self.engine.model.file.sha256}
        named = ("temperature", "max_tokens", "seed")
        return {**own, "n_ctx": self.engine.n_ctx} | {name: getattr(self, name) for name in named}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        stops = stop or self.stop or []
        return LangSmithParams(
            ls_provider="llamacpp",
            ls_model_name=kwargs.get("model", self.model_name),
            ls_model_type="chat",
            ls_temperature=kwargs.get("temperature", self.temperature),
            ls_max_tokens=kwargs.get("max_tokens", self.max_tokens),
            ls_stop=[stops] if isinstance(stops, str) else list(stops),
        )

    def bind_tools(
        self,
        tools: _Tools,
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call tools.

        Args:
            tools: Anything LangChain can make a tool of.
            tool_choice: "auto" (or None) leaves it to the model, whose calls are parsed; "any" and
                a tool's name bind the answer to one valid call; "none" hides the tools.
            kwargs: Further arguments of every call; `strict` and `parallel_tool_calls` are
                accepted and change nothing.

        Raises:
            ValueError: `tool_choice` names no tool.
        """
        kwargs.pop("strict", None)
        kwargs.pop("parallel_tool_calls", None)
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        resolve_choice(tool_choice, formatted)
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=formatted, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Method | None = None,
        include_raw: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose answers are values of `schema`, which bounds every token.

        Args:
            schema: A Pydantic class, a TypedDict, or a JSON Schema; None only for "json_mode".
            method: "function_calling" shows the schema to the model as a tool; "json_schema" binds
                the answer without showing it, and so does "json_mode", where without a schema
                any JSON object is allowed. None is the first if the model's template shows tools, else the second.
            include_raw: Return `raw`, `parsed` and `parsing_error` instead of raising.
            kwargs: Further arguments of every call; `strict` is always on.

        Raises:
            SchemaError: The schema cannot be expressed (at the first call).
            ValueError: There is no schema, or the method is unknown.
        """
        kwargs.pop("strict", None)
        how = method or ("function_calling" if self._template.shows_tools else "json_schema")
        if how not in ("function_calling", "json_schema", "json_mode"):
            raise ValueError(
                f"method is {method!r}; allowed: function_calling, json_schema, json_mode"
            )
        if schema is None and how != "json_mode":
            raise ValueError(f"method {how!r} needs a schema; give a Pydantic class or JSON Schema")
        note = {"ls_structured_output_format": {"kwargs": {"method": how}, "schema": schema}}
        if how == "function_calling":
            tool = convert_to_openai_tool(schema or {})
            name = tool_name(tool)
            model = self.bind(tools=[tool], tool_choice=name, **note, **kwargs)
            parser = StructuredParser(target=target_of(schema), tool=name)
        else:
            wanted = {"type": "object"} if schema is None else schema_of(schema)
            model = self.bind(answer_schema=wanted, **note, **kwargs)
            parser = StructuredParser(target=target_of(schema))
        return with_raw(model, parser) if include_raw else model | parser

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._prepare(messages, stop, kwargs)
        running = [self.engine.submit(request, wait_s=None) for request in call.requests]
        try:
            return to_result([g.result() for g in running], call)
        finally:
            for generation in running:
                generation.cancel()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._prepare(messages, stop, kwargs)
        running = [
            await asyncio.to_thread(self.engine.submit, request, wait_s=None)
            for request in call.requests
        ]
        try:
            done = await asyncio.gather(*(asyncio.wrap_future(g.future) for g in running))
            return to_result(done, call)
        finally:
            for generation in running:
                generation.cancel()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with closing(stream_answer(self._prepare(messages, stop, kwargs))) as chunks:
            for chunk in chunks:
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(astream_answer(self._prepare(messages, stop, kwargs))) as chunks:
            async for chunk in chunks:
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text that is not a prompt."""
        return self.engine.model.vocabulary.tokenize_plain(text)

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: _Tools | None = None
    ) -> int:
        """Return the exact length of the prompt that these messages and tools become."""
        formatted = [convert_to_openai_tool(tool) for tool in tools or ()]
        return len(self._prepare(messages, None, {"tools": formatted}).requests[0].tokens)

    def _prepare(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Call:
        fields = {name: getattr(self, name) for name in Defaults.__required_keys__}
        given = Defaults(**fields)  # type: ignore[typeddict-item]
        given.update(kwargs)
        if stop:
            given["stop"] = stop
        return prepare(self.engine, self._template, messages, given)
