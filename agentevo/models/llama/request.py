"""A request to the engine, what it becomes while it runs, and what comes back."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal

import numpy as np

from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.answer_text import AnswerText
from agentevo.models.llama.prefix_cache import Tokens
from agentevo.models.llama.sampling import Sampler, SamplingOptions, TokenLogprob

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One prompt and how to answer it.

    Attributes:
        tokens: The prompt.
        options: How tokens are chosen and when to stop.
        adapters: What to answer with; None is the engine's active set at submission.
        client: Requests of different clients take turns when they wait.
        timeout_s: Time until the request fails, waiting included; None is no limit.
    """

    tokens: tuple[int, ...]
    options: SamplingOptions = field(default_factory=SamplingOptions)
    adapters: AdapterSet | None = None
    client: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    Attributes:
        text: Without stop text and end token.
        tokens: What was generated, without the end token.
        finish_reason: "stop" (end token or stop text), "length" (`max_tokens` or the context
            window reached), or "cancelled".
        prompt_tokens: Length of the prompt.
        cached_tokens: How many of them were not computed again.
        logprobs: One entry per token if the options ask for them.
        adapters: What it was computed with.
        first_token_s: From submission to the first token; None if there is none.
        total_s: From submission to the end.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    logprobs: tuple[TokenLogprob, ...]
    adapters: AdapterSet
    first_token_s: float | None
    total_s: float


@dataclass(frozen=True, slots=True)
class Delta:
    """Part of an answer on its way: new text, or the end.

    Attributes:
        text: What became certain since the delta before; may be "".
        logprobs: Of the tokens since the delta before.
        completion: The whole answer, on the last delta only.
        error: Why it failed, on the last delta of a failed request only.
    """

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    completion: Completion | None = None
    error: BaseException | None = None

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.completion is not None or self.error is not None


Listener = Callable[[Delta], None]


@dataclass(slots=True, eq=False)
class Running:
    """The state of a request inside the engine; touched by the worker thread only.

    Attributes:
        known: Prompt and generated tokens.
        done: How many of `known` the cache holds.
        sequence: Number of its sequence, -1 while it waits.
    """

    ask: EngineRequest
    adapters: AdapterSet
    key: bytes
    prompt: Tokens
    limit: int
    listener: Listener | None = None
    future: "Future[Completion]" = field(default_factory=Future)
    cancelled: bool = False
    known: list[int] = field(default_factory=list)
    done: int = 0
    sequence: int = -1
    order: int = 0
    sampler: Sampler | None = None
    text: AnswerText = field(default_factory=AnswerText)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    unsent: list[TokenLogprob] = field(default_factory=list)
    cached_tokens: int = 0
    submitted: float = field(default_factory=time.monotonic)
    first_token: float | None = None

    def __post_init__(self) -> None:
        """Derive the running state from what was asked."""
        # Only `Generation.cancel` ends a request; a running future refuses to be cancelled.
        self.future.set_running_or_notify_cancel()
        self.known = list(self.ask.tokens)
        self.text = AnswerText(self.ask.options.stop)

    @property
    def generated(self) -> int:
        """Number of generated tokens."""
        return len(self.known) - len(self.prompt)

    @property
    def is_prefilling(self) -> bool:
        """Whether more than the newest token is still to be computed."""
        return len(self.known) - self.done > 1

    def is_late(self, now: float) -> bool:
        """Whether the time limit has passed."""
        limit = self.ask.timeout_s
        return limit is not None and now - self.submitted > limit

    def held_tokens(self) -> Tokens:
        """Return the tokens that the cache holds for this request."""
        return np.asarray(self.known[: self.done], np.int32)

    def completion(self, reason: FinishReason) -> Completion:
        """Return the answer as it stands."""
        first = self.first_token
        return Completion(
            text=self.text.text,
            tokens=tuple(self.known[len(self.prompt) :]),
            finish_reason=reason,
            prompt_tokens=len(self.prompt),
            cached_tokens=self.cached_tokens,
            logprobs=tuple(self.logprobs),
            adapters=self.adapters,
            first_token_s=None if first is None else first - self.submitted,
            total_s=time.monotonic() - self.submitted,
        )


class Generation:
    """The caller's end of a submitted request."""

    def __init__(self, running: Running, deltas: "SimpleQueue[Delta] | None" = None) -> None:
        self._running = running
        self._deltas = deltas

    @property
    def future(self) -> "Future[Completion]":
        """Done when the answer is; for `asyncio.wrap_future` and the like."""
        return self._running.future

    @property
    def adapters(self) -> AdapterSet:
        """What the request is answered with, fixed at submission."""
        return self._running.adapters

    def cancel(self) -> None:
        """Stop generating before the next token; the result then says "cancelled"."""
        self._running.cancelled = True

    def result(self, timeout_s: float | None = None) -> Completion:
        """Wait for the answer.

        Raises:
            ModelError: The request failed.
            TimeoutError: It is not done within `timeout_s`; it goes on.
        """
        return self._running.future.result(timeout_s)

    def __iter__(self) -> Iterator[Delta]:
        """Yield the answer as it comes; only for requests submitted with `stream=True`.

        Raises:
            ModelError: The request failed.
        """
        if self._deltas is None:
            raise TypeError("this request was not submitted with stream=True; use result()")
        while True:
            delta = self._deltas.get()
            if delta.error is not None:
                raise delta.error
            yield delta
            if delta.is_last:
                return
