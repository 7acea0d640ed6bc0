"""`Batching`: who takes part in the next decode, and with how many tokens.

Only requests with the same adapters can share a batch. Sets of adapters take turns; within a batch
every answering request gets its token, and new prompts get what keeps the step short.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final

from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import Piece
from agentevo.models.llama.request import Running

_STEP_S: Final = 0.1
_SMALLEST_CHUNK: Final = 32
_LEARNING_RATE: Final = 0.3


class Batching:
    """Plans the steps of one worker."""

    def __init__(self, n_batch: int, turn_s: float) -> None:
        self._n_batch = n_batch
        self._turn_s = turn_s
        self._group = BASE
        self._since = 0.0
        self._rate = float(n_batch)

    def members(self, active: Iterable[Running]) -> list[Running]:
        """Return the requests of the adapter set whose turn it is, by sequence."""
        groups: dict[AdapterSet, list[Running]] = {}
        for request in sorted(active, key=lambda r: r.sequence):
            groups.setdefault(request.adapters, []).append(request)
        now = time.monotonic()
        sets = sorted(groups, key=lambda chosen: min(r.order for r in groups[chosen]))
        if self._group not in groups:
            self._group, self._since = sets[0], now
        elif now - self._since >= self._turn_s and len(sets) > 1:
            self._group = sets[(sets.index(self._group) + 1) % len(sets)]
            self._since = now
        return groups[self._group]

    def plan(self, members: Sequence[Running]) -> list[Piece]:
        """Return what each of `members` contributes to the next batch."""
        answering = sum(not r.is_prefilling for r in members)
        budget = self._n_batch - answering
        if answering:
            budget = min(budget, max(_SMALLEST_CHUNK, int(self._rate * _STEP_S)))
        pieces = []
        for request in members:
            take = left = len(request.known) - request.done
            if left > 1:
                take = min(left, budget)
                budget -= take
            if take > 0:
                tokens = request.known[request.done : request.done + take]
                pieces.append(Piece(request.sequence, request.done, tokens, take == left))
        return pieces

    def learn(self, pieces: Sequence[Piece], seconds: float) -> None:
        """Note how long a batch took, which sizes the share of new prompts in later ones."""
        tokens = sum(len(piece.tokens) for piece in pieces)
        if tokens >= _SMALLEST_CHUNK:
            self._rate += _LEARNING_RATE * (tokens / max(seconds, 1e-6) - self._rate)
