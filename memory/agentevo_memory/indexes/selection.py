"""The largest of many values, without sorting them all; pure functions on arrays."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.indexes.base import Nearest

_GROUPS_PER_VALUE = 8

Scores = NDArray[np.float32]
Rids = NDArray[np.int64]


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


def top_positions(values: Scores, limit: int) -> NDArray[np.intp]:
    """Return the positions of the largest values, best first, ties by position."""
    high = np.flatnonzero(values >= reached_by(values, limit))
    return np.asarray(high[np.argsort(-values[high], kind="stable")[:limit]])


def reached_by(values: Scores, count: int) -> float:
    """Return a value that at least `count` values reach, little below the one that exactly do."""
    groups = _GROUPS_PER_VALUE * count
    if len(values) <= count:
        return -math.inf
    if len(values) >= 2 * groups:
        whole = len(values) - len(values) % groups
        values = values[:whole].reshape(-1, groups).max(axis=0)
    return float(np.partition(values, -count)[-count])


def merged(*rids: Rids) -> Rids:
    """Return row numbers in rising order, each once."""
    every = np.sort(np.concatenate(rids))
    first = np.ones(len(every), np.bool_)
    np.not_equal(every[1:], every[:-1], out=first[1:])
    return np.asarray(every[first])
