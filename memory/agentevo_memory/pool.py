"""What a search asks of the corpus, and the candidates it gets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.record import KINDS, Kind

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A query as the corpus takes it.

    Attributes:
        namespace: Packed namespace.
        text: The query's words.
        vector: The query's unit vector, or None to search by words only.
        names: Known names in the query, lower case.
        kinds: Filter; empty for all.
        environment, scope: Filters; None for all.
        at: Time at which records must be valid and not expired.
        limit: Hits wanted; the pool is larger.
    """

    namespace: str
    text: str
    vector: Vectors | None
    names: frozenset[str]
    kinds: tuple[Kind, ...]
    environment: str | None
    scope: str | None
    at: float
    limit: int

    @property
    def partitions(self) -> tuple[str, ...]:
        """The partitions of the dense index to look into."""
        return tuple(partition_of(self.namespace, kind) for kind in self.kinds or KINDS)


def partition_of(namespace: str, kind: Kind) -> str:
    """Return the name of the dense partition of a packed namespace and a kind."""
    return f"{namespace}\x1e{kind}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates with their raw scores; one entry per candidate in each array.

    `dense` is NaN where there is no vector; `coverage` is the lexical score as a share of what a full
    match would get; `near_dense` and `near_lexical` belong to the better neighbour in the same
    session; `question` is 1 for a record that only asks.
    """

    rids: NDArray[np.int64]
    dense: Vectors
    lexical: Vectors
    coverage: Vectors
    entity: Vectors
    near_dense: Vectors
    near_lexical: Vectors
    question: Vectors
