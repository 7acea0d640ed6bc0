"""`PrefixReuse`: spares a request the part of its prompt that was computed before.

Sources are the cache of finished requests and the running ones. A request that would share a block
or more with one whose prompt is just being computed waits for it, so that many samples of one
prompt, or many prompts with one beginning, compute it once.
"""

import numpy as np

from agentevo.models.llama.context import Context
from agentevo.models.llama.prefix_cache import (
    BLOCK_TOKENS,
    CachedPrefix,
    PrefixCache,
    PrefixIndex,
)
from agentevo.models.llama.request import Running


class PrefixReuse:
    """Finds, restores and saves prompt states; called by the worker thread only."""

    def __init__(self, context: Context, cache: PrefixCache, *, can_rewind: bool) -> None:
        self._context = context
        self._can_rewind = can_rewind
        self._enabled = cache.limit_bytes > 0
        self._cache = cache
        self._ready = PrefixIndex()
        self._computing = PrefixIndex()
        self._running: dict[int, Running] = {}

    def should_wait(self, request: Running) -> bool:
        """Whether a prompt that is being computed now will spare this one much."""
        if not self._enabled or not self._running:
            return False
        coming = self._computing.find(request.key, request.prompt)[1]
        if coming < BLOCK_TOKENS:
            return False
        here = max(
            self._cache.find(request.key, request.prompt)[1],
            self._ready.find(request.key, request.prompt)[1],
        )
        return coming - here >= BLOCK_TOKENS

    def begin(self, request: Running) -> None:
        """Fill the request's empty sequence with the longest known prefix."""
        self._running[request.sequence] = request
        if not self._enabled:
            return
        entry, length = self._best(request)
        if entry is not None and self._restore(request, entry, length):
            request.done = length
            if not request.generated:
                request.cached_tokens = length
        if request.is_prefilling:
            self._computing.add(request.sequence, request.key, request.prompt)

    def prefilled(self, request: Running) -> None:
        """Offer the prompt, which is computed now, to others."""
        if self._enabled:
            self._computing.remove(request.sequence)
            self._ready.add(request.sequence, request.key, request.prompt)

    def keep(self, request: Running) -> None:
        """Save what the request computed, before its sequence is emptied."""
        if not self._enabled:
            return
        tokens = request.held_tokens()
        if len(tokens) >= BLOCK_TOKENS and not self._cache.covers(request.key, tokens):
            self._save(request, tokens)

    def end(self, request: Running) -> None:
        """Forget a request that gives its sequence back."""
        self._computing.remove(request.sequence)
        self._ready.remove(request.sequence)
        del self._running[request.sequence]

    def _best(self, request: Running) -> tuple[CachedPrefix | None, int]:
        wanted = np.asarray(request.known, np.int32)
        entry, length = self._cache.find(request.key, wanted)
        owner, live = self._ready.find(request.key, wanted)
        if live >= length + BLOCK_TOKENS:
            donor = self._running[owner]
            entry, length = self._save(donor, donor.held_tokens()), live
        length = min(length, len(wanted) - 1)
        if entry is None or length < BLOCK_TOKENS:
            return None, 0
        if not self._can_rewind and length != len(entry.tokens):
            return None, 0
        return entry, length

    def _restore(self, request: Running, entry: CachedPrefix, length: int) -> bool:
        if not self._context.restore(request.sequence, entry.blob):
            self._context.forget(request.sequence)
            return False
        if length < len(entry.tokens):
            self._context.forget(request.sequence, length)
        return True

    def _save(
        self, request: Running, tokens: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    ) -> CachedPrefix:
        entry = CachedPrefix(request.key, tokens, self._context.save(request.sequence))
        self._cache.store(entry)
        return entry
