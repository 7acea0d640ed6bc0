"""The vectors of one partition and slot in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentevo_memory.columns import Arrays, Columns
from agentevo_memory.indexes.base import Nearest

Vectors = NDArray[np.float32]
Rids = NDArray[np.int64]
Rows = NDArray[np.intp]


class Block:
    """The vectors of one partition and slot, in rows without gaps, with their sign bits.

    Attributes:
        number: By which `Places` knows it; from 1 on.
    """

    def __init__(self, number: int, dimension: int) -> None:
        self.number = number
        self._words = -(-dimension // 64)
        bits: dict[str, DTypeLike] = dict.fromkeys(self._bit_names(), "u8")
        self._rows = Columns({"rid": "i8", "vector": ("f4", (dimension,)), **bits})

    @property
    def size(self) -> int:
        """Number of vectors held."""
        return len(self._rows)

    @property
    def rids(self) -> Rids:
        """The record of each row."""
        return self._rows["rid"]

    def extend(self, rids: Sequence[int]) -> Rows:
        """Add a row for each record and return their numbers."""
        rows = np.arange(self.size, self.size + len(rids))
        self._rows.resize(self.size + len(rids))
        self._rows["rid"][rows] = rids
        return rows

    def set(self, rows: Rows, vectors: Vectors) -> None:
        """Put vectors into rows."""
        self._rows["vector"][rows] = vectors
        for name, bits in zip(self._bit_names(), _sign_bits(vectors, self._words), strict=True):
            self._rows[name][rows] = bits

    def remove(self, rows: Rows) -> tuple[Rids, Rows]:
        """Drop rows; return the records that were moved into their places, and to which rows."""
        size = self.size - len(rows)
        kept = np.ones(self.size, np.bool_)
        kept[rows] = False
        holes, last = rows[rows < size], size + np.flatnonzero(kept[size:])
        self._rows.copy_rows(last, holes)
        self._rows.resize(size)
        return self.rids[holes], holes

    def members(self, allowed: NDArray[np.bool_] | None) -> Rows | None:
        """Return the rows that a mask over row numbers lets through; None for all."""
        return None if allowed is None else np.flatnonzero(allowed[self.rids])

    def distances(self, vector: Vectors, rows: Rows | None) -> NDArray[np.uint16]:
        """Return in how many sign bits each of the rows differs from a vector."""
        query = _sign_bits(vector[None, :], self._words)[:, 0]
        found = np.zeros(self.size if rows is None else len(rows), dtype=np.uint16)
        for name, word in zip(self._bit_names(), query, strict=True):
            bits = self._rows[name]
            found += np.bitwise_count((bits if rows is None else bits[rows]) ^ word)
        return found

    def cosines(self, vector: Vectors, rows: Rows | None) -> Vectors:
        """Return the cosines of the rows, in their order."""
        matrix = self._rows["vector"]
        return np.asarray((matrix if rows is None else matrix[rows]) @ vector)

    def nearest(self, vector: Vectors, rows: Rows | None) -> Nearest:
        """Return the records of the rows and their cosines, in their order."""
        rids = self.rids if rows is None else self.rids[rows]
        return Nearest(rids, self.cosines(vector, rows))

    def content(self) -> tuple[list[int], Vectors]:
        """Return the row numbers and vectors held."""
        return self.rids.tolist(), self._rows["vector"].copy()

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return all that is held."""
        return self._rows.arrays(prefix)

    def adopt(self, arrays: Arrays, prefix: str) -> None:
        """Take over what `arrays` gave."""
        self._rows.adopt(arrays, prefix)

    def _bit_names(self) -> list[str]:
        return [f"bits{word}" for word in range(self._words)]


def _sign_bits(vectors: Vectors, words: int) -> NDArray[np.uint64]:
    packed = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(vectors), words * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return np.ascontiguousarray(padded.view(np.uint64).T)
