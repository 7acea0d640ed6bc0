"""BM25 in memory: postings per namespace that grow by appending.

k1 = 0.9 and b = 0.4, the values usual for short texts. A removed document keeps its postings, masked,
until a fifth of the block is dead; then the block is packed.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.indexes.base import Nearest
from agentevo_memory.indexes.exact import top_positions

K1 = 0.9
B = 0.4
_PACK_SHARE = 5
_PACK_MIN = 256


class Postings:
    """The documents of one namespace, as lists of rows per term."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[array[int], array[float]]] = {}
        self._frequency: Counter[str] = Counter()
        self._rids = array("q")
        self._lengths = array("f")
        self._terms: list[tuple[str, ...]] = []
        self._row_of: dict[int, int] = {}
        self._dead: list[int] = []
        self._length = 0

    def put(self, rid: int, terms: Sequence[str]) -> None:
        """Add a document, replacing the one of the same row number."""
        self.remove(rid)
        row = len(self._rids)
        counted = Counter(terms)
        self._row_of[rid] = row
        self._rids.append(rid)
        self._terms.append(tuple(terms))
        self._length += len(terms)
        self._lengths.append(len(terms))
        for term, times in counted.items():
            lists = self._rows.get(term)
            if lists is None:
                lists = self._rows[term] = (array("i"), array("f"))
            lists[0].append(row)
            lists[1].append(times)
            self._frequency[term] += 1

    def remove(self, rid: int) -> None:
        """Drop a document, if it is here."""
        row = self._row_of.pop(rid, None)
        if row is None:
            return
        self._dead.append(row)
        self._length -= len(self._terms[row])
        for term in set(self._terms[row]):
            self._frequency[term] -= 1
        self._terms[row] = ()
        if len(self._dead) > max(_PACK_MIN, len(self._rids) // _PACK_SHARE):
            self._pack()

    def scores(self, terms: Iterable[str]) -> NDArray[np.float32]:
        """Return the BM25 score of every row; 0 without a match."""
        total = np.zeros(len(self._rids), dtype=np.float32)
        if not self._row_of:
            return total
        lengths = np.frombuffer(self._lengths, dtype=np.float32)
        count = len(self._row_of)
        per_term = np.float32(K1 * B * count / max(self._length, 1))
        for term in dict.fromkeys(terms):
            lists = self._rows.get(term)
            if lists is None:
                continue
            weight = self._weight(self._frequency[term])
            rows = np.frombuffer(lists[0], dtype=np.int32)
            times = np.frombuffer(lists[1], dtype=np.float32)
            norm = lengths[rows]
            norm *= per_term
            norm += np.float32(K1 * (1 - B))
            total[rows] += np.float32(weight) * times / (times + norm)
        if self._dead:
            total[self._dead] = 0
        return total

    def best(
        self, total: NDArray[np.float32], limit: int, allowed: NDArray[np.bool_] | None
    ) -> Nearest:
        """Return the best documents among `total`, the answer of `scores`, best first."""
        rows = np.flatnonzero(total)
        if not len(rows):
            return Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32))
        rids = np.frombuffer(self._rids, dtype=np.int64)
        if allowed is not None:
            rows = rows[allowed[rids[rows]]]
        chosen = rows[top_positions(total[rows], limit)]
        return Nearest(rids[chosen], total[chosen])

    def ceiling(self, terms: Iterable[str]) -> float:
        """Return the score of a document in which every one of `terms` counts as once."""
        return sum(self._weight(self._frequency[term]) / 2 for term in set(terms))

    def score_rows(self, total: NDArray[np.float32], rids: Sequence[int]) -> NDArray[np.float32]:
        """Return the entries of `scores` that belong to row numbers; 0 for foreign ones."""
        rows = np.array([self._row_of.get(rid, -1) for rid in rids], dtype=np.int64)
        return np.where(rows >= 0, total[rows], np.float32(0))

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._row_of)

    def _weight(self, frequency: int) -> float:
        others = len(self._row_of) - frequency
        return (K1 + 1) * math.log(1 + (others + 0.5) / (frequency + 0.5))

    def _pack(self) -> None:
        kept = [(rid, self._terms[row]) for rid, row in self._row_of.items()]
        self.__init__()  # type: ignore[misc]
        for rid, terms in kept:
            self.put(rid, terms)
