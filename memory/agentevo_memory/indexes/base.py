"""The contract of a dense index: nearest vectors within given partitions.

A partition is a namespace and kind: what is filtered most is kept apart. An index is a cache. It holds
the vectors of recallable records under their row numbers (`rid`) and never any text. What it does not hold is missing from its answers, never wrong in them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agentevo_memory.columns import Arrays

TEXT_SLOT = 0
FIRST_FIELD_SLOT = 1
"""Slot 0 is the record's text; further slots are single fields of it, pooled by maximum."""


class Nearest(NamedTuple):
    """Row numbers and their cosines, best first."""

    rids: "NDArray[np.int64]"
    scores: "NDArray[np.float32]"


class DenseIndex(Protocol):
    """Cosine search over unit vectors. One thread at a time."""

    @property
    def name(self) -> str:
        """What it is called in statistics."""
        ...

    def put(
        self, partition: str, slot: int, rids: Sequence[int], vectors: "NDArray[np.float32]"
    ) -> None:
        """Add vectors, replacing those of the same row number and slot."""
        ...

    def remove(self, rids: Sequence[int]) -> None:
        """Drop all vectors of these records; unknown ones are ignored."""
        ...

    def nearest(
        self,
        partitions: Sequence[str],
        vector: "NDArray[np.float32]",
        limit: int,
        allowed: "NDArray[np.bool_] | None" = None,
    ) -> Nearest:
        """Return the `limit` records nearest to a unit vector, each once, by its best slot.

        Args:
            partitions: Where to look; nothing else is read.
            vector: The query.
            limit: At least 1.
            allowed: Row numbers to consider, as a mask over `rid`; None for all.
        """
        ...

    def scores(
        self, partitions: Sequence[str], vector: "NDArray[np.float32]", rids: Sequence[int]
    ) -> "NDArray[np.float32]":
        """Return the best cosine of each record; NaN where the index holds no vector of it."""
        ...

    def __len__(self) -> int:
        """Return the number of vectors held."""
        ...

    def settle(self) -> None:
        """Drop what was held from before and has not been put again: it is out of date."""
        ...

    def arrays(self) -> "Arrays":
        """Return all that is held, for a snapshot; nothing if it has files of its own."""
        ...

    def adopt(self, arrays: "Arrays") -> bool:
        """Take over what `arrays` gave; False if every vector must be put again."""
        ...

    def flush(self, limit: int | None = None) -> None:
        """Write to its files what is in memory only: all, or at most `limit` vectors."""
        ...

    def close(self) -> None:
        """Flush what is pending and release files; a second call does nothing."""
        ...
