"""Exact cosine search in memory: one matrix per partition and slot.

Large blocks are searched in two steps: the sign bits of all rows give a shortlist by Hamming
distance, whose cosines are then computed exactly. Small blocks are computed in full.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentevo_memory.columns import Arrays, Columns
from agentevo_memory.indexes.base import Nearest

FULL_SCAN_ROWS = 4_000
SHORTLIST = 6
SHORTLIST_MIN = 500

_GROUPS_PER_VALUE = 8

Vectors = NDArray[np.float32]
Rows = NDArray[np.intp]


class Block:
    """The vectors of one partition and slot, in rows without gaps."""

    def __init__(self, dimension: int) -> None:
        self._words = -(-dimension // 64)
        bits: dict[str, DTypeLike] = dict.fromkeys(self._bit_names(), "u8")
        self._rows = Columns({"rid": "i8", "vector": ("f4", (dimension,)), **bits})
        self._row_of: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Number of vectors held."""
        return len(self._rows)

    def put(self, rids: Sequence[int], vectors: Vectors) -> None:
        """Add or replace vectors."""
        new = [rid for rid in dict.fromkeys(rids) if rid not in self._row_of]
        self._row_of.update(zip(new, range(self.size, self.size + len(new)), strict=True))
        self._rows.resize(self.size + len(new))
        rows = np.array([self._row_of[rid] for rid in rids], dtype=np.int64)
        self._rows["rid"][rows] = rids
        self._rows["vector"][rows] = vectors
        for name, bits in zip(self._bit_names(), _sign_bits(vectors, self._words), strict=True):
            self._rows[name][rows] = bits

    def remove(self, rid: int) -> None:
        """Drop one vector by moving the last row into its place."""
        row = self._row_of.pop(rid, None)
        if row is None:
            return
        last = self.size - 1
        if row != last:
            self._rows.copy_row(last, row)
            self._row_of[int(self._rows["rid"][row])] = row
        self._rows.resize(last)

    def members(self, allowed: NDArray[np.bool_] | None) -> Rows | None:
        """Return the rows that a mask over row numbers lets through; None for all."""
        return None if allowed is None else np.flatnonzero(allowed[self._rows["rid"]])

    def distances(self, vector: Vectors, rows: Rows | None) -> NDArray[np.uint16]:
        """Return in how many sign bits each of the rows differs from a vector."""
        query = _sign_bits(vector[None, :], self._words)[:, 0]
        found = np.zeros(self.size if rows is None else len(rows), dtype=np.uint16)
        for name, word in zip(self._bit_names(), query, strict=True):
            bits = self._rows[name]
            found += np.bitwise_count((bits if rows is None else bits[rows]) ^ word)
        return found

    def cosines(self, vector: Vectors, rows: Rows | None) -> Nearest:
        """Return the cosines of the rows, in their order."""
        rids, matrix = self._rows["rid"], self._rows["vector"]
        if rows is None:
            return Nearest(rids, matrix @ vector)
        return Nearest(rids[rows], matrix[rows] @ vector)

    def raise_scores(self, best: Vectors, vector: Vectors, rids: Sequence[int]) -> None:
        """Raise the entries of `best` to the cosines of the records that are here."""
        found = [(i, self._row_of[rid]) for i, rid in enumerate(rids) if rid in self._row_of]
        if found:
            places, rows = np.array(found, dtype=np.int64).T
            best[places] = np.fmax(best[places], self._rows["vector"][rows] @ vector)

    def content(self) -> tuple[list[int], Vectors]:
        """Return the row numbers and vectors held."""
        return self._rows["rid"].tolist(), self._rows["vector"].copy()

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return all that is held."""
        return self._rows.arrays(prefix)

    def adopt(self, arrays: Arrays, prefix: str) -> None:
        """Take over what `arrays` gave."""
        self._rows.adopt(arrays, prefix)
        self._row_of = {rid: row for row, rid in enumerate(self._rows["rid"].tolist())}

    def _bit_names(self) -> list[str]:
        return [f"bits{word}" for word in range(self._words)]


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
        blocks = [block for block in self._of(partitions) if block.size]
        chosen = shortlist(blocks, vector, limit, allowed)
        found = [block.cosines(vector, rows) for block, rows in zip(blocks, chosen, strict=True)]
        return best_of(found, limit)

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

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that is held, for a snapshot."""
        found: dict[str, NDArray[Any]] = {}
        for (partition, slot), block in self._blocks.items():
            found |= block.arrays(f"dense/{partition}/{slot}/")
        return found

    def adopt(self, arrays: Arrays) -> bool:
        """Take over what `arrays` gave."""
        for name in arrays:
            head, _, column = name.rpartition("/")
            if name.startswith("dense/") and column == "vector":
                partition, _, slot = head.removeprefix("dense/").rpartition("/")
                block = Block(arrays[name].shape[1])
                block.adopt(arrays, f"{head}/")
                self._blocks[partition, int(slot)] = block
        return True

    def slots(self) -> list[tuple[str, int]]:
        """Return every partition and slot that holds a vector."""
        return [key for key, block in self._blocks.items() if block.size]

    def _of(self, partitions: Sequence[str]) -> list[Block]:
        wanted = set(partitions)
        return [block for (name, _), block in self._blocks.items() if name in wanted]


def shortlist(
    blocks: Sequence[Block], vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None
) -> list[Rows | None]:
    """Return the rows of each block whose cosines are worth computing; None for all of a block."""
    members = [block.members(allowed) for block in blocks]
    count = sum(
        block.size if rows is None else len(rows)
        for block, rows in zip(blocks, members, strict=True)
    )
    if count <= FULL_SCAN_ROWS:
        return members
    distances = [block.distances(vector, rows) for block, rows in zip(blocks, members, strict=True)]
    reached = np.cumsum(np.bincount(np.concatenate(distances)))
    radius = np.searchsorted(reached, max(SHORTLIST_MIN, SHORTLIST * limit))
    near = [np.flatnonzero(each <= radius) for each in distances]
    return [
        rows if member is None else member[rows] for member, rows in zip(members, near, strict=True)
    ]


def best_of(found: Sequence[Nearest], limit: int) -> Nearest:
    """Return the best of several answers, each record once."""
    if not found:
        return Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32))
    rids = np.concatenate([answer.rids for answer in found])
    scores = np.concatenate([answer.scores for answer in found])
    chosen = top_positions(scores, limit)
    if len(set(rids[chosen].tolist())) < len(chosen):
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(rids[order], return_index=True)
        chosen = order[np.sort(first)][:limit]
    return Nearest(rids[chosen], scores[chosen])


def top_positions(values: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """Return the positions of the largest values, best first, ties by position."""
    high = np.flatnonzero(values >= reached_by(values, limit))
    return np.asarray(high[np.argsort(-values[high], kind="stable")[:limit]])


def reached_by(values: NDArray[np.float32], count: int) -> float:
    """Return a value that at least `count` values reach, little below the one that exactly do."""
    groups = _GROUPS_PER_VALUE * count
    if len(values) <= count:
        return -math.inf
    if len(values) >= 2 * groups:
        whole = len(values) - len(values) % groups
        values = values[:whole].reshape(-1, groups).max(axis=0)
    return float(np.partition(values, -count)[-count])


def _sign_bits(vectors: Vectors, words: int) -> NDArray[np.uint64]:
    packed = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(vectors), words * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
