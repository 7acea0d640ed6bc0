"""`Worker`: the thread that owns a context and moves every running request one step at a time.

Each step decodes one batch: one token of every answering request and as much of the new prompts as
keeps a step short. All requests of a batch have the same adapters; the adapter sets take turns.
A request that must yield its memory is computed again later from the tokens it has.
"""

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agentevo.errors import ModelError
from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.batching import Batching
from agentevo.models.llama.context import Context, ContextShape, NoSpaceError, Piece
from agentevo.models.llama.counters import Counters
from agentevo.models.llama.errors import EngineClosedError, GenerationTimeoutError
from agentevo.models.llama.line import WaitingLine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.outcome import deliver, fail
from agentevo.models.llama.prefix_cache import PrefixCache
from agentevo.models.llama.request import FinishReason, Running
from agentevo.models.llama.reuse import PrefixReuse
from agentevo.models.llama.sampling import DeadEndError

_SCANNED: Final = 64


class Worker:
    """Runs requests on one context in a thread of its own."""

    def __init__(
        self, model: LlamaModel, shape: ContextShape, *, cache: PrefixCache, turn_s: float
    ) -> None:
        """Create the context and start the thread.

        Args:
            model: The weights.
            shape: Of the context.
            cache: The saved states, shared with the other workers on contexts of this shape.
            turn_s: Seconds that one adapter set may take while another one waits.

        Raises:
            ModelError: There is not enough memory for the context.
        """
        self._model = model
        self._shape = shape
        self._context = Context(model, shape)
        self.reuse = PrefixReuse(self._context, cache, can_rewind=model.can_rewind)
        self._batching = Batching(self._context.n_batch, turn_s)
        self.counters = Counters()
        self.wake = threading.Condition()
        self.unstarted = self.unfinished = 0
        self._unfinished: Counter[AdapterSet] = Counter()
        self._inbox: deque[Running] = deque()
        self._line = WaitingLine()
        self._active: dict[int, Running] = {}
        self._free = list(range(shape.sequences))
        self._orders = 0
        self._most = shape.sequences
        self._closing = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="llama-engine", daemon=True)
        self._thread.start()

    @property
    def active(self) -> int:
        """Number of requests that have a sequence."""
        return len(self._active)

    def post(self, request: Running) -> None:
        """Hand a request to the thread; the caller holds `wake`.

        Raises:
            EngineClosedError: The worker has stopped.
        """
        if self._closing:
            raise EngineClosedError("the engine is closed; open another one") from self.error
        self._inbox.append(request)
        self.unstarted += 1
        self.unfinished += 1
        self._unfinished[request.adapters] += 1
        self.wake.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether no further request is taken."""
        return self._closing

    def drain(self, adapters: AdapterSet, wait_s: float | None) -> None:
        """Wait until no request with `adapters` is unfinished.

        Raises:
            TimeoutError: Some still run after `wait_s`.
        """
        with self.wake:
            if not self.wake.wait_for(lambda: not self._unfinished.get(adapters), wait_s):
                left = self._unfinished[adapters]
                raise TimeoutError(f"{left} requests with {adapters} still run after {wait_s} s")

    def close(self) -> None:
        """Stop the thread, fail what is unfinished and free the context."""
        with self.wake:
            self._closing = True
            self.wake.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._collect():
                self._sweep()
                self._admit()
                if self._active:
                    self._step()
        except Exception as error:  # noqa: BLE001 (the thread's last stand: callers must not hang)
            self.error = error
        finally:
            self._shut_down()

    def _collect(self) -> bool:
        """Take in new requests, waiting for some if there is nothing to do; False at the end."""
        with self.wake:
            while not (self._inbox or self._active or self._line or self._closing):
                self.wake.wait()
            new = list(self._inbox)
            self._inbox.clear()
        for request in new:
            self._line.add(request)
        return not self._closing

    def _sweep(self) -> None:
        now = time.monotonic()
        for request in [*self._active.values(), *self._line.in_turn()]:
            if request.cancelled:
                self._end(request, "cancelled")
            elif request.is_late(now):
                limit = request.ask.timeout_s
                self._drop(request, GenerationTimeoutError(f"not finished within {limit} s"))

    def _admit(self) -> None:
        if len(self._active) >= self._most or not self._line:
            return
        for request in list(islice(self._line.in_turn(), _SCANNED)):
            if len(self._active) >= self._most:
                return
            if not self.reuse.should_wait(request):
                self._start(request)

    def _start(self, request: Running) -> None:
        self._line.remove(request)
        self._left_line(request)
        request.sequence = heapq.heappop(self._free)
        request.order = self._orders = self._orders + 1
        self._active[request.sequence] = request
        self.reuse.begin(request)

    def _step(self) -> None:
        members = self._batching.members(self._active.values())
        pieces = self._batching.plan(members)
        started = time.monotonic()
        try:
            self._context.apply(members[0].adapters)
            logits = self._context.decode(pieces)
        except NoSpaceError:
            self._make_room()
            return
        except ModelError as error:
            for piece in pieces:
                self._drop(self._active[piece.sequence], error)
            return
        self._batching.learn(pieces, time.monotonic() - started)
        self._advance(pieces, logits)

    def _advance(self, pieces: Sequence[Piece], logits: NDArray[np.float32]) -> None:
        self.counters.steps += 1
        likeliest = logits.argmax(axis=1).tolist() if len(logits) else []
        row = 0
        for piece in pieces:
            request = self._active[piece.sequence]
            request.done += len(piece.tokens)
            if piece.wants_logits:
                if len(piece.tokens) > 1 or not request.generated:
                    self.reuse.prefilled(request)
                self._choose(request, logits[row], likeliest[row])
                row += 1

    def _choose(self, request: Running, logits: NDArray[np.float32], likeliest: int) -> None:
        sampler = request.sampler
        if sampler is None:
            token = likeliest
        else:
            try:
                token = sampler.choose(logits)
            except DeadEndError as error:
                self._drop(request, error)
                return
        if token in self._model.vocabulary.end_ids and not request.ask.options.ignore_end:
            self._end(request, "stop")
            return
        if sampler is not None:
            sampler.accept(token)
            if (entry := sampler.logprob(token, logits)) is not None:
                request.logprobs.append(entry)
                request.unsent.append(entry)
        self._take(request, token)

    def _take(self, request: Running, token: int) -> None:
        if request.first_token is None:
            request.first_token = time.monotonic()
        request.known.append(token)
        self.counters.generated_tokens += 1
        new = request.text.push(self._model.vocabulary.piece(token))
        if request.text.stopped:
            self._end(request, "stop", new)
        elif request.generated >= request.limit:
            self._end(request, "length", new)
        elif request.listener is not None and (new or request.unsent):
            deliver(request, new)

    def _make_room(self) -> None:
        """Take the memory of the youngest request, which is computed again later."""
        youngest = max(self._active.values(), key=lambda r: r.order)
        if len(self._active) == 1:
            self._drop(youngest, ModelError("the key-value cache is too small for this request"))
            return
        self.counters.preempted += 1
        self._vacate(youngest)
        youngest.done, youngest.sequence = 0, -1
        self._most = len(self._active)
        self._line.add(youngest, first=True)

    def _end(self, request: Running, reason: FinishReason, new: str = "") -> None:
        if request.sequence >= 0 and reason != "cancelled":
            self.reuse.keep(request)
        self._remove(request)
        self.counters.finished += reason != "cancelled"
        self.counters.cancelled += reason == "cancelled"
        self.counters.prompt_tokens += len(request.prompt)
        self.counters.cached_tokens += request.cached_tokens
        self._release(request)
        deliver(request, new, reason)

    def _drop(self, request: Running, error: BaseException) -> None:
        self._remove(request)
        self.counters.failed += 1
        self._release(request)
        fail(request, error)

    def _release(self, request: Running) -> None:
        self._model.adapters.release(request.adapters)
        with self.wake:
            self.unfinished -= 1
            self._unfinished[request.adapters] -= 1
            self.wake.notify_all()

    def _remove(self, request: Running) -> None:
        if request.sequence >= 0:
            self._vacate(request)
            self._most = min(self._most + 1, self._shape.sequences)
        else:
            self._line.remove(request)
            self._left_line(request)
        if request.sampler is not None:
            request.sampler.close()

    def _left_line(self, request: Running) -> None:
        if request.order == 0:
            with self.wake:
                self.unstarted -= 1
                self.wake.notify_all()

    def _vacate(self, request: Running) -> None:
        self.reuse.end(request)
        del self._active[request.sequence]
        self._context.forget(request.sequence)
        heapq.heappush(self._free, request.sequence)

    def _shut_down(self) -> None:
        with self.wake:
            self._closing = True
            left = [*self._active.values(), *self._line.in_turn(), *self._inbox]
            self.wake.notify_all()
        for request in left:
            if request.sampler is not None:
                request.sampler.close()
            self._release(request)
            error = EngineClosedError("the engine was closed before the request was finished")
            error.__cause__ = self.error
            fail(request, error)
        self._context.close()
