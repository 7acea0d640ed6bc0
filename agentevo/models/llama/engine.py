"""`LlamaEngine`: many requests at once on the contexts of a local model, with adapters swapped live.

Every request is pinned to its adapter set when it is submitted and every cached state is keyed by
the base model's hash and that set, so an answer never mixes two sets.
"""

import hashlib
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from agentevo.errors import ModelError
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.errors import ContextOverflowError, EngineBusyError
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.prefix_cache import PrefixCache
from agentevo.models.llama.request import Delta, EngineRequest, Generation, Listener, Running
from agentevo.models.llama.sampling import Sampler
from agentevo.models.llama.sizing import (
    EngineSettings,
    check_memory,
    contexts_of,
    shape_of,
)
from agentevo.models.llama.worker import Worker


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
        self.shape = shape_of(model, self.settings)
        check_memory(model, self.shape, self.settings)
        self._cache = PrefixCache(self.settings.cache_bytes)
        self._workers: list[Worker] = []
        self._lock = threading.Lock()
        self._serving = _Serving(BASE)
        model.acquire()
        self._finalizer = weakref.finalize(self, _dispose, self._workers, model, self._serving)
        try:
            for _ in range(contexts_of(model, self.settings)):
                self._workers.append(
                    Worker(model, self.shape, cache=self._cache, turn_s=self.settings.turn_s)
                )
        except BaseException:
            self.close()
            raise

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
        return any(worker.is_closed for worker in self._workers)

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
            end = None if wait_s is None else time.monotonic() + wait_s
            for worker in self._workers:
                worker.drain(old, None if end is None else max(0.0, end - time.monotonic()))
        return old

    def stats(self) -> dict[str, int]:
        """Return counters since the start and the present load."""
        done: Counter[str] = Counter()
        for worker in self._workers:
            done.update(asdict(worker.counters))
        return {
            **done,
            "active": sum(worker.active for worker in self._workers),
            "waiting": sum(worker.unstarted for worker in self._workers),
            "cache_entries": len(self._cache),
            "cache_bytes": self._cache.bytes_used,
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
        worker = min(self._workers, key=lambda worker: worker.unfinished)
        limit = -(-self.settings.max_waiting // len(self._workers))
        with worker.wake:
            room = worker.wake.wait_for(
                lambda: worker.unstarted < limit or worker.is_closed, wait_s
            )
            if not room:
                raise EngineBusyError(
                    f"{worker.unstarted} requests wait already; send fewer at once or wait longer"
                )
            worker.post(running)


def _dispose(workers: Sequence[Worker], model: LlamaModel, serving: _Serving) -> None:
    """End an engine, at the latest before the interpreter takes the library away under it."""
    for worker in workers:
        worker.close()
    model.adapters.release(serving.adapters)
    model.release()
