"""BM25 for one query: the best documents without a full scan, and the score of any single one.

k1 = 0.9 and b = 0.4, the values usual for short texts. Rare words are scored first; frequent ones only
for the documents that can still reach the best, so the answer is that of a full scan.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.indexes.base import Nearest
from agentevo_memory.indexes.selection import reached_by, top_positions

K1 = 0.9
B = 0.4
FEW_ROWS = 2_000
SMALL = 30_000
"""Up to so many documents, scoring every word is faster than leaving out what cannot matter."""

_ROUNDING = 1e-4
_TINY = 1e-12

Scores = NDArray[np.float32]
Rids = NDArray[np.int64]
Rows = NDArray[np.int32]
Times = NDArray[np.uint16]


class Part(NamedTuple):
    """Where a term occurs: rows in rising order, and how often in each.

    `table` has how often by row, with a 0 behind its end, for a term that occurs in many; else None.
    """

    rows: Rows
    times: Times
    table: Times | None = None


class Term(NamedTuple):
    """A word of a query: its weight, the most it can give to a document, and where it occurs."""

    weight: float
    bound: float
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """In how many documents it occurs."""
        return sum(len(part.rows) for part in self.parts)


class Documents(NamedTuple):
    """The documents of one namespace by their rows.

    `norms` is what the length of each adds to the denominator of BM25; `alive` says how many are live;
    `rows_of` finds them by their row numbers, -1 for those that are not live here.
    """

    rids: Rids
    live: NDArray[np.bool_]
    norms: Scores
    alive: int
    rows_of: Callable[[Sequence[int] | Rids], Rows]


class Match:
    """The words of one query in the documents of one namespace; valid until the next change.

    Attributes:
        ceiling: The score of a document in which every word counts as once.
    """

    def __init__(self, documents: Documents, terms: Sequence[Term], ceiling: float) -> None:
        self.ceiling = ceiling
        self._documents = documents
        self._terms = terms
        self._total: Scores | None = None

    def best(self, limit: int, allowed: NDArray[np.bool_] | None) -> Nearest:
        """Return the best documents that have a word of the query, best first."""
        if allowed is not None and np.count_nonzero(allowed) <= FEW_ROWS:
            rows = self._documents.rows_of(np.flatnonzero(allowed))
            rows = rows[rows >= 0]
            scores = self._at(rows, self._terms)
            rows, scores = rows[scores > 0], scores[scores > 0]
        else:
            rows, scores = self._candidates(limit, allowed)
        top = top_positions(scores, limit)
        return Nearest(self._documents.rids[rows[top]], scores[top])

    def scores(self, rids: Sequence[int] | Rids) -> Scores:
        """Return the score of each document; 0 for foreign ones."""
        rows = self._documents.rows_of(rids)
        known = rows >= 0
        scores = np.zeros(len(rows), np.float32)
        if self._total is None:
            scores[known] = self._at(rows[known], self._terms)
        else:
            scores[known] = self._total[rows[known]]
        return scores

    def _candidates(self, limit: int, allowed: NDArray[np.bool_] | None) -> tuple[Rows, Scores]:
        """Return a superset of the best: words in falling order, until the rest cannot matter."""
        total, eligible = np.zeros(len(self._documents.rids), np.float32), self._eligible(allowed)
        left, rest, least = list(self._terms), sum(term.bound for term in self._terms), 0.0
        seen, unseen = 0, sum(term.size for term in self._terms)
        while left and least <= rest:
            term = left.pop(0)
            self._add(total, term)
            if eligible is not None:
                total *= eligible
            rest -= term.bound
            seen, unseen = seen + term.size, unseen - term.size
            if unseen > FEW_ROWS and seen >= limit and len(total) > SMALL:
                least = reached_by(total, limit)
        if not left and allowed is None:
            self._total = total
        floor = max(least - rest, 0.0) * (1 - _ROUNDING) + _TINY
        rows: Rows = np.flatnonzero(total >= floor).astype(np.int32)
        scores: Scores = total[rows]
        for term in left:
            kept = scores >= (reached_by(scores, limit) - rest) * (1 - _ROUNDING)
            rows, scores = rows[kept], scores[kept]
            scores += self._at(rows, [term])
            rest -= term.bound
        return rows, scores

    def _eligible(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return a mask over documents of those that are live and allowed; None for all."""
        documents = self._documents
        if allowed is not None:
            mask: NDArray[np.bool_] = documents.live & allowed[documents.rids]
            return mask
        return documents.live if documents.alive < len(documents.live) else None

    def _add(self, total: Scores, term: Term) -> None:
        """Add to every document what a term gives to it."""
        norms = self._documents.norms
        for rows, times, table in term.parts:
            if table is None:
                total[rows] = total.take(rows) + _gain(term, norms.take(rows), times)
            else:
                packed = len(table) - 1
                total[:packed] += _gain(term, norms[:packed], table[:packed])

    def _at(self, rows: Rows, terms: Sequence[Term]) -> Scores:
        """Return what terms give to single documents."""
        scores, norms = np.zeros(len(rows), np.float32), self._documents.norms.take(rows)
        for term in terms:
            for part in term.parts:
                if part.table is not None:
                    scores += _gain(term, norms, part.table.take(rows, mode="clip"))
                    continue
                place = np.minimum(part.rows.searchsorted(rows), len(part.rows) - 1)
                hit = np.flatnonzero(part.rows[place] == rows)
                if len(hit):
                    scores[hit] += _gain(term, norms[hit], part.times.take(place[hit]))
        return scores


def _gain(term: Term, norms: Scores, times: Times) -> Scores:
    return np.asarray(np.float32(term.weight) * times / (norms + times), np.float32)
