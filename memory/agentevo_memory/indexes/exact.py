"""Exact cosine search in memory: one matrix per namespace and slot.

Large blocks are searched in two steps: the sign bits of all rows give a shortlist by Hamming
distance, whose cosines are then computed exactly. Small blocks are computed in full.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.indexes.base import Nearest

FULL_SCAN_ROWS = 4_000
SHORTLIST = 6
SHORTLIST_MIN = 500
_FIRST_CAPACITY = 64

Vectors = NDArray[np.float32]


class Block:
    """The vectors of one namespace and slot, in rows without gaps."""

    def __init__(self, dimension: int) -> None:
        self.size = 0
        self._rids = np.zeros(_FIRST_CAPACITY, dtype=np.int64)
        self._matrix = np.zeros((_FIRST_CAPACITY, dimension), dtype=np.float32)
        self._words = -(-dimension // 64)
        self._bits = np.zeros((self._words, _FIRST_CAPACITY), dtype=np.uint64)
        self._row_of: dict[int, int] = {}

    def put(self, rids: Sequence[int], vectors: Vectors) -> None:
        """Add or replace vectors."""
        self._reserve(self.size + len(rids))
        if len(rids) > 1 and self._row_of.keys().isdisjoint(rids):
            rows: slice | NDArray[np.int64] = slice(self.size, self.size + len(rids))
            self._row_of.update(zip(rids, range(self.size, self.size + len(rids)), strict=True))
            self.size += len(rids)
        else:
            rows = np.array([self._row(rid) for rid in rids], dtype=np.int64)
        self._rids[rows] = rids
        self._matrix[rows] = vectors
        self._bits[:, rows] = _sign_bits(vectors, self._words)

    def remove(self, rid: int) -> None:
        """Drop one vector by moving the last row into its place."""
        row = self._row_of.pop(rid, None)
        if row is None:
            return
        self.size -= 1
        last = self.size
        if row != last:
            moved = int(self._rids[last])
            self._rids[row] = moved
            self._matrix[row] = self._matrix[last]
            self._bits[:, row] = self._bits[:, last]
            self._row_of[moved] = row
        self._matrix[last] = 0

    def nearest(self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None) -> Nearest:
        """Return the nearest rows, best first."""
        rows = self._shortlist(vector, limit, allowed)
        cosines = (
            self._matrix[: self.size] @ vector if rows is None else self._matrix[rows] @ vector
        )
        top = top_positions(cosines, limit)
        chosen = top if rows is None else rows[top]
        return Nearest(self._rids[chosen], cosines[top])

    def raise_scores(self, best: Vectors, vector: Vectors, rids: Sequence[int]) -> None:
        """Raise the entries of `best` to the cosines of the records that are here."""
        found = [(i, self._row_of[rid]) for i, rid in enumerate(rids) if rid in self._row_of]
        if found:
            places, rows = np.array(found, dtype=np.int64).T
            best[places] = np.fmax(best[places], self._matrix[rows] @ vector)

    def content(self) -> tuple[list[int], Vectors]:
        """Return the row numbers and vectors held."""
        return self._rids[: self.size].tolist(), self._matrix[: self.size].copy()

    def _shortlist(
        self, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        rows = None if allowed is None else np.flatnonzero(allowed[self._rids[: self.size]])
        count = self.size if rows is None else len(rows)
        if count <= FULL_SCAN_ROWS:
            return rows
        query = _sign_bits(vector[None, :], self._words)[:, 0]
        distance = np.zeros(self.size, dtype=np.uint16)
        for word, bits in zip(query, self._bits, strict=True):
            distance += np.bitwise_count(bits[: self.size] ^ word)
        if rows is not None:
            distance = distance[rows]
        wanted = min(count, max(SHORTLIST_MIN, SHORTLIST * limit))
        steps = np.cumsum(np.bincount(distance))
        near = np.flatnonzero(distance <= np.searchsorted(steps, wanted))
        return near if rows is None else rows[near]

    def _row(self, rid: int) -> int:
        row = self._row_of.get(rid)
        if row is None:
            row = self._row_of[rid] = self.size
            self.size += 1
        return row

    def _reserve(self, rows: int) -> None:
        capacity = len(self._rids)
        if rows <= capacity:
            return
        grown = max(rows, capacity + capacity // 2)
        extra = grown - capacity
        self._rids = np.concatenate([self._rids, np.zeros(extra, np.int64)])
        self._matrix = np.concatenate(
            [self._matrix, np.zeros((extra, self._matrix.shape[1]), np.float32)]
        )
        self._bits = np.concatenate([self._bits, np.zeros((self._words, extra), np.uint64)], axis=1)


class ExactIndex:
    """Cosine search over vectors in memory; every process builds its own from the journal."""

    name = "exact"

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int], Block] = {}

    def put(self, partition: str, slot: int, rids: Sequence[int], vectors: Vectors) -> None:
        """Add vectors, replacing those of the same row number and slot."""
        block = self._blocks.get((partition, slot))
        if block is None:
            block = self._blocks[partition, slot] = Block(vectors.shape[1])
        block.put(rids, vectors)

    def remove(self, rids: Sequence[int]) -> None:
        """Drop all vectors of these records; unknown ones are ignored."""
        for block in self._blocks.values():
            for rid in rids:
                block.remove(rid)

    def nearest(
        self,
        partitions: Sequence[str],
        vector: Vectors,
        limit: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the nearest records, each once, by its best slot."""
        found = [
            block.nearest(vector, limit, allowed) for block in self._of(partitions) if block.size
        ]
        return found[0] if len(found) == 1 else best_of(found, limit)

    def scores(self, partitions: Sequence[str], vector: Vectors, rids: Sequence[int]) -> Vectors:
        """Return the best cosine of each record; NaN where there is no vector of it."""
        best = np.full(len(rids), np.nan, dtype=np.float32)
        for block in self._of(partitions):
            block.raise_scores(best, vector, rids)
        return best

    def __len__(self) -> int:
        """Return the number of vectors held."""
        return sum(block.size for block in self._blocks.values())

    def settle(self) -> None:
        """Do nothing: nothing is held from before."""

    def flush(self, limit: int | None = None) -> None:
        """Do nothing: there are no files."""

    def close(self) -> None:
        """Forget everything."""
        self._blocks.clear()

    def vectors_of(self, partition: str, slot: int) -> tuple[list[int], Vectors]:
        """Return the row numbers and vectors of one partition and slot."""
        return self._blocks[partition, slot].content()

    def remove_from(self, partition: str, slot: int, rids: Sequence[int]) -> None:
        """Drop the vectors of one slot of records."""
        for rid in rids:
            self._blocks[partition, slot].remove(rid)

    def slots(self) -> list[tuple[str, int]]:
        """Return every partition and slot that holds a vector."""
        return [key for key, block in self._blocks.items() if block.size]

    def _of(self, partitions: Sequence[str]) -> list[Block]:
        wanted = set(partitions)
        return [block for (name, _), block in self._blocks.items() if name in wanted]


def best_of(found: Sequence[Nearest], limit: int) -> Nearest:
    """Return the best of several answers, each record once."""
    if not found:
        return Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32))
    rids = np.concatenate([answer.rids for answer in found])
    scores = np.concatenate([answer.scores for answer in found])
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(rids[order], return_index=True)
    chosen = order[np.sort(first)][:limit]
    return Nearest(rids[chosen], scores[chosen])


def top_positions(values: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """Return the positions of the largest values, best first, ties by position."""
    if len(values) > limit:
        part = np.sort(np.argpartition(-values, limit - 1)[:limit])
    else:
        part = np.arange(len(values))
    return np.asarray(part[np.argsort(-values[part], kind="stable")])


def _sign_bits(vectors: Vectors, words: int) -> NDArray[np.uint64]:
    packed = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(vectors), words * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
