"""BM25 for one query: the best documents without a full scan, and the score of any single one.

k1 = 0.9 and b = 0.4, the values usual for short texts. Rare words are scored first; frequent ones only
for the documents that can still reach the best, so the answer is that of a full scan.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Columns
from agentevo_memory.indexes.base import Nearest
from agentevo_memory.indexes.exact import reached_by, top_positions

K1 = 0.9
B = 0.4
FEW_ROWS = 2_000
_ROUNDING = 1e-4
_TINY = 1e-12

Scores = NDArray[np.float32]
Rows = NDArray[np.int32]


class Part(NamedTuple):
    """Where a term occurs: rows in rising order, and how often in each."""

    rows: Rows
    times: NDArray[np.uint16]


class Term(NamedTuple):
    """A word of a query: its weight, the most it can give to a document, and where it occurs."""

    weight: float
    bound: float
    parts: tuple[Part, ...]


class Match:
    """The words of one query in the documents of one namespace; valid until the next change.

    Attributes:
        ceiling: The score of a document in which every word counts as once.
    """

    def __init__(
        self,
        documents: Columns,
        row_of: dict[int, int],
        terms: Sequence[Term],
        measures: tuple[float, float],
    ) -> None:
        self._documents = documents
        self._row_of = row_of
        self._terms = terms
        self._per_term, self.ceiling = measures

    def best(self, limit: int, allowed: NDArray[np.bool_] | None) -> Nearest:
        """Return the best documents that have a word of the query, best first."""
        rids = self._documents["rid"]
        if allowed is not None and np.count_nonzero(allowed) <= FEW_ROWS:
            rows = self._rows(np.flatnonzero(allowed).tolist())
            rows = rows[rows >= 0]
            scores = self._at(rows, self._terms)
            rows, scores = rows[scores > 0], scores[scores > 0]
        else:
            rows, scores = self._candidates(limit, allowed)
        top = top_positions(scores, limit)
        return Nearest(rids[rows[top]], scores[top])

    def scores(self, rids: Sequence[int]) -> Scores:
        """Return the score of each document; 0 for foreign ones."""
        rows = self._rows(rids)
        known = rows >= 0
        scores = np.zeros(len(rows), np.float32)
        scores[known] = self._at(rows[known], self._terms)
        return scores

    def _rows(self, rids: Sequence[int]) -> Rows:
        get = self._row_of.get
        return np.array([get(rid, -1) for rid in rids], np.int32)

    def _candidates(self, limit: int, allowed: NDArray[np.bool_] | None) -> tuple[Rows, Scores]:
        """Return a superset of the best: words in falling order, until the rest cannot matter."""
        total, eligible = np.zeros(len(self._documents), np.float32), self._eligible(allowed)
        left, rest, least = list(self._terms), sum(term.bound for term in self._terms), 0.0
        while left and least <= rest:
            term = left.pop(0)
            for part in term.parts:
                total[part.rows] += self._gain(term.weight, part.rows, part.times)
            if eligible is not None:
                total *= eligible
            rest -= term.bound
            if sum(len(part.rows) for each in left for part in each.parts) > FEW_ROWS:
                least = reached_by(total, limit)
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
        live: NDArray[np.bool_] = self._documents["live"]
        if allowed is not None:
            mask: NDArray[np.bool_] = live & allowed[self._documents["rid"]]
            return mask
        return live if len(self._row_of) < len(live) else None

    def _at(self, rows: Rows, terms: Sequence[Term]) -> Scores:
        """Return what terms give to single documents."""
        scores = np.zeros(len(rows), np.float32)
        for term in terms:
            for part in term.parts:
                place = np.minimum(np.searchsorted(part.rows, rows), len(part.rows) - 1)
                hit = part.rows[place] == rows
                scores[hit] += self._gain(term.weight, rows[hit], part.times[place[hit]])
        return scores

    def _gain(self, weight: float, rows: NDArray[Any], times: NDArray[np.uint16]) -> Scores:
        norm = self._documents["length"][rows]
        norm *= np.float32(self._per_term)
        norm += np.float32(K1 * (1 - B))
        norm += times
        return np.asarray(np.float32(weight) * times / norm, np.float32)
