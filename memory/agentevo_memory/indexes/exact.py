"""Exact cosine search in memory: one matrix per partition and slot.

Large blocks are searched in two steps: the sign bits of all rows give a shortlist by Hamming
distance, whose cosines are then computed exactly. Small blocks are computed in full.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Arrays
from agentevo_memory.indexes.base import Nearest
from agentevo_memory.indexes.block import Block, Rids, Rows, Vectors
from agentevo_memory.indexes.places import Places
from agentevo_memory.indexes.selection import best_of

FULL_SCAN_ROWS = 4_000
SHORTLIST = 6
SHORTLIST_MIN = 500
SAMPLED = 16_384
"""How many of the distances tell which of them are small enough for the shortlist."""


class ExactIndex:
    """Cosine search over vectors in memory; every process builds its own from the journal.

    In each slot a record lies in one partition: putting it into another one moves it.
    """

    name = "exact"

    def __init__(self) -> None:
        self._blocks: dict[str, dict[int, Block]] = {}
        self._numbered: list[Block] = []
        self._places: defaultdict[int, Places] = defaultdict(Places)

    def put(self, partition: str, slot: int, rids: Sequence[int], vectors: Vectors) -> None:
        """Add vectors, replacing those of the same row number and slot."""
        block, places = self._block(partition, slot, vectors.shape[1]), self._places[slot]
        given = np.array(rids, np.int64)
        held, _ = places.of(given)
        self._remove(places, given[(held != 0) & (held != block.number)])
        new = list(dict.fromkeys(given[held != block.number].tolist()))
        places.enter(np.array(new, np.int64), block.number, block.extend(new))
        block.set(places.of(given)[1].astype(np.intp), vectors)

    def remove(self, rids: Sequence[int]) -> None:
        """Drop all vectors of these records; unknown ones are ignored."""
        for places in self._places.values():
            self._remove(places, np.array(rids, np.int64))

    def nearest(
        self,
        partitions: Sequence[str],
        vector: Vectors,
        limit: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the nearest records, each once, by its best slot."""
        blocks = [block for _, block in self._of(partitions) if block.size]
        chosen = shortlist(blocks, vector, limit, allowed)
        found = [block.nearest(vector, rows) for block, rows in zip(blocks, chosen, strict=True)]
        return best_of(found, limit)

    def scores(self, partitions: Sequence[str], vector: Vectors, rids: Sequence[int]) -> Vectors:
        """Return the best cosine of each record; NaN where there is no vector of it."""
        best = np.full(len(rids), np.nan, dtype=np.float32)
        wanted = np.array(rids, np.int64)
        places = {slot: each.of(wanted) for slot, each in self._places.items()}
        for slot, block in self._of(partitions):
            numbers, rows = places[slot]
            here = np.flatnonzero(numbers == block.number)
            if len(here):
                found = block.cosines(vector, rows[here].astype(np.intp))
                best[here] = np.fmax(best[here], found)
        return best

    def __len__(self) -> int:
        """Return the number of vectors held."""
        return sum(block.size for block in self._numbered)

    def settle(self) -> None:
        """Do nothing: nothing is held from before."""

    def flush(self, limit: int | None = None) -> None:
        """Do nothing: there are no files."""

    def close(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._numbered.clear()
        self._places.clear()

    def vectors_of(self, partition: str, slot: int) -> tuple[list[int], Vectors]:
        """Return the row numbers and vectors of one partition and slot."""
        return self._blocks[partition][slot].content()

    def remove_from(self, slot: int, rids: Sequence[int]) -> None:
        """Drop the vectors of one slot of records."""
        self._remove(self._places[slot], np.array(rids, np.int64))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that is held, for a snapshot."""
        found: dict[str, NDArray[Any]] = {}
        for partition, slot, block in self._all():
            found |= block.arrays(f"dense/{partition}/{slot}/")
        return found

    def adopt(self, arrays: Arrays) -> bool:
        """Take over what `arrays` gave."""
        for name in arrays:
            head, _, column = name.rpartition("/")
            if name.startswith("dense/") and column == "vector":
                partition, _, slot = head.removeprefix("dense/").rpartition("/")
                block = self._block(partition, int(slot), arrays[name].shape[1])
                block.adopt(arrays, f"{head}/")
                self._places[int(slot)].enter(block.rids, block.number, np.arange(block.size))
        return True

    def slots(self) -> list[tuple[str, int]]:
        """Return every partition and slot that holds a vector."""
        return [(partition, slot) for partition, slot, block in self._all() if block.size]

    def _all(self) -> Iterator[tuple[str, int, Block]]:
        for partition, blocks in self._blocks.items():
            for slot, block in blocks.items():
                yield partition, slot, block

    def _of(self, partitions: Sequence[str]) -> list[tuple[int, Block]]:
        names = [name for name in partitions if name in self._blocks]
        return [pair for name in dict.fromkeys(names) for pair in self._blocks[name].items()]

    def _block(self, partition: str, slot: int, dimension: int) -> Block:
        blocks = self._blocks.setdefault(partition, {})
        if slot not in blocks:
            blocks[slot] = Block(len(self._numbered) + 1, dimension)
            self._numbered.append(blocks[slot])
        return blocks[slot]

    def _remove(self, places: Places, rids: Rids) -> None:
        rids = np.unique(rids)
        numbers, rows = places.of(rids)
        held = rids[numbers > 0]
        places.enter(held, 0, np.zeros(len(held), np.intp))
        for number in set(numbers.tolist()) - {0}:
            gone = rows[numbers == number].astype(np.intp)
            moved, to = self._numbered[number - 1].remove(gone)
            places.enter(moved, number, to)


def shortlist(
    blocks: Sequence[Block], vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None
) -> list[Rows | None]:
    """Return the rows of each block whose cosines are worth computing; None for all of a block."""
    members = [block.members(allowed) for block in blocks]
    count = sum(
        block.size if rows is None else len(rows)
        for block, rows in zip(blocks, members, strict=True)
    )
    wanted = max(SHORTLIST_MIN, SHORTLIST * limit)
    if count <= max(FULL_SCAN_ROWS, wanted):
        return members
    distances = [block.distances(vector, rows) for block, rows in zip(blocks, members, strict=True)]
    step = max(1, count // SAMPLED)
    reached = step * np.cumsum(np.bincount(np.concatenate([each[::step] for each in distances])))
    radius = np.searchsorted(reached, wanted)
    near = [np.flatnonzero(each <= radius) for each in distances]
    return [
        rows if member is None else member[rows] for member, rows in zip(members, near, strict=True)
    ]
