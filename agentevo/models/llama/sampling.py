"""How the next token is chosen: `SamplingOptions` of a request and its `Sampler`.

Without a grammar the whole choice happens in llama.cpp's sampler chain. With one, the likeliest
path is tried first: choose freely, ask the grammar about that one token, and only if it refuses
filter the whole vocabulary and choose again.
"""

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentevo.errors import ModelError, ModelOptionError
from agentevo.models.llama.bindings import is_null, last_complaint, library
from agentevo.models.llama.errors import SchemaError
from agentevo.models.llama.vocabulary import Vocabulary

_CANDIDATE: Final = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
_HOTTEST: Final = 100
_MOST_SHOWN: Final = 100
_SEED_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """What a request asks of the sampler.

    Attributes:
        temperature: 0 takes the likeliest token; larger is more random.
        top_k: Only the k likeliest tokens; 0 is no limit.
        top_p: Only the likeliest tokens that hold this probability together.
        min_p: Only tokens at least this likely, relative to the likeliest.
        seed: Of the random choice; the same seed and logits give the same tokens.
        max_tokens: Longest answer; None is what the context window leaves.
        stop: Texts that end the answer and are not part of it.
        grammar: GBNF that the answer must match, with the rule `root`.
        top_logprobs: Alternatives reported per token; None reports no log-probabilities.
        ignore_end: Whether the model's end token is an ordinary token, for measurements.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    top_logprobs: int | None = None
    ignore_end: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ModelOptionError: The message names the option and its range.
        """
        _require(0 <= self.temperature <= _HOTTEST, "temperature", self.temperature, "0 to 100")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 (no limit) or more")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        _require(0 <= self.min_p <= 1, "min_p", self.min_p, "0 to 1")
        tokens = self.max_tokens
        _require(tokens is None or tokens > 0, "max_tokens", tokens, "1 or more, or None")
        _require(all(self.stop), "stop", self.stop, "texts that are not empty")
        shown = self.top_logprobs
        _require(
            shown is None or 0 <= shown <= _MOST_SHOWN, "top_logprobs", shown, "0 to 100, or None"
        )

    @property
    def is_plain_greedy(self) -> bool:
        """Whether the largest logit decides alone and nothing is reported."""
        return self.temperature == 0 and self.grammar is None and self.top_logprobs is None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token with its natural log-probability before any sampling option.

    Attributes:
        token: Id of the token.
        logprob: Its log-probability under temperature 1.
        top: The likeliest tokens with theirs, best first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class DeadEndError(ModelError):
    """No token of the vocabulary continues the grammar."""


class Sampler:
    """Chooses the tokens of one request. Used by the engine's worker thread only."""

    def __init__(self, options: SamplingOptions, vocabulary: Vocabulary) -> None:
        """Set up the chain.

        Raises:
            SchemaError: The grammar is not valid GBNF.
        """
        self._options = options
        self._grammar = _grammar(options.grammar, vocabulary) if options.grammar else None
        self._chain = _chain(options)
        self._candidates = np.empty(vocabulary.size, _CANDIDATE)

    def choose(self, logits: NDArray[np.float32]) -> int:
        """Return the next token for these logits, which stay unchanged.

        Raises:
            DeadEndError: The grammar allows no token.
        """
        token = self._pick(logits, constrained=False)
        if self._grammar is None:
            return token
        if not self._allows(token, float(logits[token])):
            token = self._pick(logits, constrained=True)
        return token

    def accept(self, token: int) -> None:
        """Move the grammar past a token that `choose` returned and that does not end the text."""
        if self._grammar is not None:
            library().llama_sampler_accept(self._grammar, token)

    def logprob(self, token: int, logits: NDArray[np.float32]) -> TokenLogprob | None:
        """Return what is reported about a token, None when the request asks for nothing."""
        shown = self._options.top_logprobs
        return None if shown is None else token_logprob(token, logits, shown)

    def close(self) -> None:
        """Free the chain; a second call does nothing."""
        for pointer in (self._grammar, self._chain):
            if pointer is not None:
                library().llama_sampler_free(pointer)
        self._grammar = self._chain = None

    def _pick(self, logits: NDArray[np.float32], *, constrained: bool) -> int:
        if self._chain is None and not constrained:
            return int(logits.argmax())
        candidates = self._candidates
        candidates["id"] = np.arange(len(candidates))
        candidates["logit"] = logits
        array = _token_array(candidates)
        if constrained:
            library().llama_sampler_apply(self._grammar, ctypes.byref(array))
            if not np.isfinite(candidates["logit"]).any():
                raise DeadEndError("the vocabulary has no token that continues the grammar")
            if self._chain is None:
                return int(candidates["id"][candidates["logit"].argmax()])
        library().llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(candidates["id"][array.selected])

    def _allows(self, token: int, logit: float) -> bool:
        one = np.array([(token, logit, 0.0)], _CANDIDATE)
        library().llama_sampler_apply(self._grammar, ctypes.byref(_token_array(one)))
        return bool(np.isfinite(one["logit"][0]))


def token_logprob(token: int, logits: NDArray[np.float32], shown: int) -> TokenLogprob:
    """Return the log-probability of `token` and of the `shown` likeliest tokens."""
    peak = float(logits.max())
    total = peak + math.log(float(np.exp(logits.astype(np.float64) - peak).sum()))
    best = np.argsort(-logits, kind="stable")[:shown]
    return TokenLogprob(
        token=token,
        logprob=float(logits[token]) - total,
        top=tuple((int(i), float(logits[i]) - total) for i in best),
    )


def check_grammar(text: str, vocabulary: Vocabulary) -> None:
    """Check that `text` is GBNF that llama.cpp takes.

    Raises:
        SchemaError: It is not.
    """
    library().llama_sampler_free(_grammar(text, vocabulary))


def _token_array(candidates: NDArray[Any]) -> Any:
    lib = library()
    data = candidates.ctypes.data_as(ctypes.POINTER(lib.llama_token_data))
    return lib.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)


def _grammar(text: str, vocabulary: Vocabulary) -> Any:
    lib = library()
    pointer = lib.llama_sampler_init_grammar(vocabulary.pointer, text.encode(), b"root")
    if is_null(pointer):
        raise SchemaError(
            f"llama.cpp refuses the grammar ({last_complaint()}); simplify the schema"
        )
    return pointer


def _chain(options: SamplingOptions) -> Any:
    if options.temperature == 0:
        return None
    lib = library()
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    if options.top_k:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(options.top_k))
    if options.top_p < 1:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(options.top_p, 1))
    if options.min_p > 0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_min_p(options.min_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(options.temperature))
    seed = options.seed & _SEED_MASK
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
    return chain


def _require(holds: bool, name: str, given: object, allowed: str) -> None:
    if not holds:
        raise ModelOptionError(f"{name} is {given!r}; allowed: {allowed}")
