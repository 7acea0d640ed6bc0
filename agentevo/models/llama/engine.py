"""`LlamaEngine`: many requests at once on one context of a local model, with adapters swapped live.

Every request is pinned to its adapter set when it is submitted and every cached state is keyed by
the base model's hash and that set, so an answer never mixes two sets.
"""

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np

from agentevo.errors import ModelError
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import ContextShape
from agentevo.models.llama.errors import ContextOverflowError, EngineBusyError
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import Delta, EngineRequest, Generation, Listener, Running
from agentevo.models.llama.sampling import Sampler
from agentevo.models.llama.worker import Worker

_DEFAULT_CTX: Final = 4096
_SMALL_MODEL_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Sizes and limits of an engine.

    Attributes:
        n_ctx: Longest prompt plus answer in tokens; None is what the model was trained on, at most
            4096. More than that is cut to it.
        max_sequences: Requests computed together; the others wait.
        n_batch: Most tokens of one step.
        n_threads: Threads that compute; None is 1 for small models, else the processor count.
        kv_bytes: Memory for the context of all sequences together.
        cache_bytes: Memory for saved prompt states; 0 switches their reuse off.
        max_waiting: Requests that may wait before further ones are refused.
        quantum: Steps that one adapter set may take while another one waits.
    """

    n_ctx: int | None = None
    max_sequences: int = 16
    n_batch: int = 512
    n_threads: int | None = None
    kv_bytes: int = 1 << 30
    cache_bytes: int = 256 << 20
    max_waiting: int = 1024
    quantum: int = 16

    def __post_init__(self) -> None:
        """Refuse sizes out of range.

        Raises:
            ModelError: The message names the setting and its range.
        """
        lowest = {"n_ctx": 16, "max_sequences": 1, "n_batch": 32, "n_threads": 1}
        lowest |= {"kv_bytes": 1, "cache_bytes": 0, "max_waiting": 1, "quantum": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ModelError(f"{name} is {value!r}; allowed: {least} or more")
        if self.max_sequences > 256:
            raise ModelError(f"max_sequences is {self.max_sequences!r}; allowed: 1 to 256")


@dataclass(slots=True)
class _Serving:
    """What requests that name no adapters are answered with at the moment."""

    adapters: AdapterSet


class LlamaEngine:
    """Answers requests with a local model. Safe to use from any number of threads."""

    def __init__(self, model: LlamaModel, settings: EngineSettings | None = None) -> None:
        """Start the engine on a loaded model, which it does not own.

        Raises:
            ModelError: There is not enough memory, or a size is out of range.
        """
        self.model = model
        self.settings = settings or EngineSettings()
        self.shape = _shape(model, self.settings)
        _check_memory(model, self.shape, self.settings.cache_bytes)
        model.acquire()
        try:
            self._worker = Worker(
                model,
                self.shape,
                cache_bytes=self.settings.cache_bytes,
                quantum=self.settings.quantum,
            )
        except BaseException:
            model.release()
            raise
        self._lock = threading.Lock()
        self._serving = _Serving(BASE)
        self._finalizer = weakref.finalize(self, _dispose, self._worker, model, self._serving)

    @classmethod
    def open(cls, path: str | Path, settings: EngineSettings | None = None) -> "LlamaEngine":
        """Load a model file and start an engine on it."""
        return cls(LlamaModel(path), settings)

    @property
    def n_ctx(self) -> int:
        """Longest prompt plus answer in tokens."""
        return self.shape.n_ctx

    @property
    def active_adapters(self) -> AdapterSet:
        """What requests that name no adapters are answered with."""
        return self._serving.adapters

    @property
    def is_closed(self) -> bool:
        """Whether the engine takes no further requests."""
        return self._worker.is_closed

    def cache_key(self, adapters: AdapterSet) -> bytes:
        """Return the key of every state computed with `adapters` on this model."""
        return hashlib.sha256(bytes.fromhex(self.model.file.sha256) + adapters.key).digest()

    def adapter_set(self, scales: Mapping[str, float] | Iterable[str]) -> AdapterSet:
        """Return the set of these loaded adapters, named by id, id prefix or name.

        Args:
            scales: Adapter to scale, or the adapters alone for scale 1.

        Raises:
            AdapterError: One is not loaded.
        """
        pairs = scales.items() if isinstance(scales, Mapping) else ((name, 1.0) for name in scales)
        return AdapterSet.of({self.model.adapters.find(name).id: s for name, s in pairs})

    def submit(
        self,
        request: EngineRequest,
        *,
        stream: bool = False,
        listener: Listener | None = None,
        wait_s: float | None = 0.0,
    ) -> Generation:
        """Hand in a request.

        Args:
            request: What to answer.
            stream: Whether the result will be iterated over.
            listener: Called with every part of the answer, from the engine's thread; must return
                at once. Not together with `stream`.
            wait_s: How long to wait for a place in the line; None is without limit.

        Raises:
            ContextOverflowError: The prompt leaves no room for an answer.
            EngineBusyError: The line is full.
            EngineClosedError: The engine is closed.
            SchemaError: The grammar is not valid.
            AdapterError: An adapter is not loaded.
        """
        deltas: SimpleQueue[Delta] | None = SimpleQueue() if stream else None
        running = self._prepare(request, deltas.put if deltas is not None else listener)
        try:
            self._post(running, wait_s)
        except BaseException:
            self.model.adapters.release(running.adapters)
            if running.sampler is not None:
                running.sampler.close()
            raise
        return Generation(running, deltas)

    def swap(self, adapters: AdapterSet = BASE, *, wait_s: float | None = 0.0) -> AdapterSet:
        """Answer every later request with `adapters`; requests already submitted keep theirs.

        Args:
            adapters: The new active set.
            wait_s: How long to wait until the requests of the old set are finished; None is
                without limit.

        Returns:
            The set that was active before.

        Raises:
            AdapterError: An adapter is not loaded.
            TimeoutError: Requests of the old set still run after `wait_s`; the swap took effect.
        """
        self.model.adapters.hold(adapters)
        with self._lock:
            old, self._serving.adapters = self._serving.adapters, adapters
        self.model.adapters.release(old)
        if wait_s != 0.0 and old != adapters:
            self._worker.drain(old, wait_s)
        return old

    def stats(self) -> dict[str, int]:
        """Return counters since the start and the present load."""
        cache = self._worker.reuse.cache
        return {
            **asdict(self._worker.counters),
            "active": self._worker.active,
            "waiting": self._worker.unstarted,
            "cache_entries": len(cache),
            "cache_bytes": cache.bytes_used,
        }

    def close(self) -> None:
        """Stop, failing what is unfinished; a second call does nothing. The model stays loaded."""
        self._finalizer()

    def __enter__(self) -> "LlamaEngine":
        """Return the engine, which is closed at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the engine."""
        self.close()

    def _prepare(self, request: EngineRequest, listener: Listener | None) -> Running:
        prompt = np.asarray(request.tokens, np.int32)
        self._check_prompt(prompt)
        options = request.options
        room = self.n_ctx - len(prompt)
        with self._lock:
            adapters = request.adapters
            if adapters is None:
                adapters = self._serving.adapters
            self.model.adapters.hold(adapters)
        try:
            plain = options.is_plain_greedy
            sampler = None if plain else Sampler(options, self.model.vocabulary)
        except BaseException:
            self.model.adapters.release(adapters)
            raise
        return Running(
            ask=request,
            adapters=adapters,
            key=self.cache_key(adapters),
            prompt=prompt,
            limit=room if options.max_tokens is None else min(room, options.max_tokens),
            listener=listener,
            sampler=sampler,
        )

    def _check_prompt(self, prompt: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> None:
        if not len(prompt):
            raise ModelError("the prompt is empty; give at least one token")
        if prompt.min() < 0 or prompt.max() >= self.model.vocabulary.size:
            raise ModelError(
                f"a token is out of range; allowed: 0 to {self.model.vocabulary.size - 1}"
            )
        if len(prompt) >= self.n_ctx:
            raise ContextOverflowError(
                f"the prompt has {len(prompt)} tokens, the context window {self.n_ctx}; "
                "shorten the conversation or open the model with a larger n_ctx"
            )

    def _post(self, running: Running, wait_s: float | None) -> None:
        worker = self._worker
        with worker.wake:
            room = worker.wake.wait_for(
                lambda: worker.unstarted < self.settings.max_waiting or worker.is_closed, wait_s
            )
            if not room:
                raise EngineBusyError(
                    f"{worker.unstarted} requests wait already; send fewer at once or wait longer"
                )
            worker.post(running)


def _shape(model: LlamaModel, settings: EngineSettings) -> ContextShape:
    n_ctx = min(settings.n_ctx or _DEFAULT_CTX, model.trained_ctx)
    full = n_ctx * settings.max_sequences
    affordable = settings.kv_bytes // max(model.kv_bytes_per_token, 1)
    small = model.file.path.stat().st_size < _SMALL_MODEL_BYTES
    return ContextShape(
        n_ctx=n_ctx,
        sequences=settings.max_sequences,
        cells=max(n_ctx, min(full, affordable)),
        n_batch=max(settings.n_batch, settings.max_sequences),
        n_threads=settings.n_threads or (1 if small else os.cpu_count() or 1),
    )


def _check_memory(model: LlamaModel, shape: ContextShape, cache_bytes: int) -> None:
    """Refuse what cannot fit: the kernel would end the process instead of failing the request."""
    needed = shape.cells * model.kv_bytes_per_token + cache_bytes
    free = _free_bytes()
    if free is not None and needed > free:
        raise ModelError(
            f"a context of {shape.cells} tokens and the cache need {needed >> 20} MiB, "
            f"{free >> 20} MiB are free; use a smaller n_ctx, kv_bytes or cache_bytes"
        )


def _free_bytes() -> int | None:
    """Return the memory that programs can still get, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kibibytes = next(found, None)
    return None if kibibytes is None else int(kibibytes) << 10


def _dispose(worker: Worker, model: LlamaModel, serving: _Serving) -> None:
    """End an engine, at the latest before the interpreter takes the library away under it."""
    worker.close()
    model.adapters.release(serving.adapters)
    model.release()
