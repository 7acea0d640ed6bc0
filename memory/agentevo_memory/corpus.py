"""The searchable state of recallable records: filters, neighbours, names, words and vectors.

A corpus follows the journal: `apply` takes the rows that changed. It answers with the raw scores of a
pool of candidates; ranking is the business of `retrieval`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.indexes.base import DenseIndex, Nearest
from agentevo_memory.indexes.lexical import Postings
from agentevo_memory.journal import IndexRow
from agentevo_memory.language import search_terms, words_in_order
from agentevo_memory.record import KINDS, Kind, Status

POOL = 100
_NAME_WORDS = 3

Vectors = NDArray[np.float32]
SlotVectors = Mapping[int, Sequence[tuple[int, Vectors]]]
"""Vectors by row number: pairs of slot and unit vector."""


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


@dataclass(slots=True)
class _Space:
    """What is known of one namespace."""

    postings: Postings
    names: dict[str, set[int]]
    timed: set[int]
    questions: set[int]
    sessions: dict[tuple[str, int], int]


class Corpus:
    """The recallable records of a store, by namespace."""

    def __init__(self, dense: DenseIndex, statuses: frozenset[Status]) -> None:
        self.dense = dense
        self.statuses = statuses
        self._spaces: dict[str, _Space] = {}
        self._rows: dict[int, IndexRow] = {}
        self._slots: dict[int, int] = {}
        self._kind = np.zeros(0, dtype=np.int8)
        self._labels: dict[str, int] = {"": 0}
        self._environment = np.zeros(0, dtype=np.int32)
        self._scope = np.zeros(0, dtype=np.int32)

    def __len__(self) -> int:
        """Return the number of records held."""
        return len(self._rows)

    def rows(self) -> tuple[int, ...]:
        """Return the row numbers held."""
        return tuple(self._rows)

    def apply(self, rows: Sequence[IndexRow], vectors: SlotVectors) -> None:
        """Take over the present state of changed records."""
        self._reserve(max((row.rid for row in rows), default=0) + 1)
        batches: dict[tuple[str, int], list[tuple[int, Vectors]]] = defaultdict(list)
        self.dense.remove([row.rid for row in rows if self._is_stale(row, vectors)])
        self._drop([row.rid for row in rows if row.rid in self._rows])
        for row in rows:
            if row.status not in self.statuses:
                continue
            self._take(row)
            self._slots[row.rid] = len(vectors.get(row.rid, ()))
            for slot, vector in vectors.get(row.rid, ()):
                batches[partition_of(row.namespace, row.kind), slot].append((row.rid, vector))
        for (partition, slot), entries in batches.items():
            matrix = np.stack([vector for _, vector in entries])
            self.dense.put(partition, slot, [rid for rid, _ in entries], matrix)

    def names_in(self, namespace: str, text: str) -> frozenset[str]:
        """Return the names known in a namespace that `text` mentions, lower case."""
        space = self._spaces.get(namespace)
        if space is None or not space.names:
            return frozenset()
        words = [word.removesuffix("'s").rstrip("?") for word in words_in_order(text)]
        phrases = {
            " ".join(words[start : start + length])
            for length in range(1, _NAME_WORDS + 1)
            for start in range(len(words) - length + 1)
        }
        return frozenset(phrases & space.names.keys())

    def pool(self, probe: Probe) -> Pool | None:
        """Return the candidates for a query, or None where nothing can be found."""
        space = self._spaces.get(probe.namespace)
        if space is None:
            return None
        allowed = self._allowed(space, probe)
        wanted = max(POOL, 2 * probe.limit)
        terms = search_terms(probe.text)
        total = space.postings.scores(terms)
        rids, near = space.postings.best(total, wanted, allowed).rids, None
        if probe.vector is not None:
            near = self.dense.nearest(probe.partitions, probe.vector, wanted, allowed)
            rids = np.union1d(rids, near.rids)
        if space.sessions:
            rids = self._with_neighbours(space, rids, allowed)
        if not len(rids):
            return None
        return self._score(space, probe, total, self._cosines(probe, rids, near))

    def _cosines(self, probe: Probe, rids: NDArray[np.int64], near: Nearest | None) -> Nearest:
        """Return all candidates with their cosines, of which `near` has some already."""
        cosines = np.full(len(rids), np.nan, dtype=np.float32)
        if near is None or probe.vector is None:
            return Nearest(rids, cosines)
        cosines[np.searchsorted(rids, near.rids)] = near.scores
        missing = np.flatnonzero(np.isnan(cosines))
        if len(missing):
            wanted = rids[missing].tolist()
            cosines[missing] = self.dense.scores(probe.partitions, probe.vector, wanted)
        return Nearest(rids, cosines)

    def _score(self, space: _Space, probe: Probe, total: Vectors, found: Nearest) -> Pool:
        rids, dense = found
        known = rids.tolist()
        lexical = space.postings.score_rows(total, known)
        ceiling = space.postings.ceiling(search_terms(probe.text))
        entity = np.zeros(len(rids), dtype=np.float32)
        for name in probe.names:
            entity += np.array([rid in space.names[name] for rid in known], dtype=np.float32)
        near_dense = near_lexical = np.zeros(len(rids), dtype=np.float32)
        if space.sessions:
            around = self._neighbours(space, known)
            near_lexical = _better(around, lambda near: space.postings.score_rows(total, near))
            if (vector := probe.vector) is not None:
                near_dense = _better(
                    around, lambda near: self.dense.scores(probe.partitions, vector, near)
                )
        return Pool(
            rids,
            dense,
            lexical,
            lexical / np.float32(max(ceiling, 1e-9)),
            entity / np.float32(max(1, len(probe.names))),
            near_dense,
            near_lexical,
            np.array([rid in space.questions for rid in known], dtype=np.float32),
        )

    def _allowed(self, space: _Space, probe: Probe) -> NDArray[np.bool_] | None:
        mask: NDArray[np.bool_] | None = None
        if probe.kinds:
            mask = np.isin(self._kind, [KINDS.index(kind) for kind in probe.kinds])
        for label, column in (
            (probe.environment, self._environment),
            (probe.scope, self._scope),
        ):
            if label is not None:
                same = column == self._labels.get(label, -1)
                mask = same if mask is None else mask & same
        outside = [rid for rid in space.timed if not _holds(self._rows[rid], probe.at)]
        if outside:
            mask = np.ones(len(self._kind), dtype=np.bool_) if mask is None else mask
            mask[outside] = False
        return mask

    def _with_neighbours(
        self, space: _Space, rids: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        around = np.array(
            [near for pair in self._neighbours(space, rids.tolist()) for near in pair if near >= 0],
            dtype=np.int64,
        )
        if allowed is not None:
            around = around[allowed[around]]
        return np.union1d(rids, around)

    def _neighbours(self, space: _Space, rids: Sequence[int]) -> list[tuple[int, int]]:
        pairs = []
        for rid in rids:
            row = self._rows[rid]
            if row.session:
                before = space.sessions.get((row.session, row.sequence - 1), -1)
                after = space.sessions.get((row.session, row.sequence + 1), -1)
                pairs.append((before, after))
            else:
                pairs.append((-1, -1))
        return pairs

    def _is_stale(self, row: IndexRow, vectors: SlotVectors) -> bool:
        if row.status not in self.statuses:
            return True
        old = self._rows.get(row.rid)
        if old is None:
            return False
        moved = (old.namespace, old.kind) != (row.namespace, row.kind)
        return moved or self._slots.get(row.rid, 0) > len(vectors.get(row.rid, ()))

    def _take(self, row: IndexRow) -> None:
        space = self._spaces.get(row.namespace)
        if space is None:
            space = _Space(Postings(), defaultdict(set), set(), set(), {})
            self._spaces[row.namespace] = space
        self._rows[row.rid] = row
        self._kind[row.rid] = KINDS.index(row.kind)
        self._environment[row.rid] = self._labels.setdefault(row.environment, len(self._labels))
        self._scope[row.rid] = self._labels.setdefault(row.scope, len(self._labels))
        space.postings.put(row.rid, search_terms(row.gist))
        for name in _names(row):
            space.names[name].add(row.rid)
        if (row.valid_from, row.valid_to, row.expires_at) != (None, None, None):
            space.timed.add(row.rid)
        if row.gist.endswith(("?", "\uff1f")):
            space.questions.add(row.rid)
        if row.session:
            space.sessions[row.session, row.sequence] = row.rid

    def _drop(self, rids: Sequence[int]) -> None:
        for rid in rids:
            row = self._rows.pop(rid)
            self._slots.pop(rid, None)
            space = self._spaces[row.namespace]
            space.postings.remove(rid)
            space.timed.discard(rid)
            space.questions.discard(rid)
            for name in _names(row):
                space.names[name].discard(rid)
                if not space.names[name]:
                    del space.names[name]
            if space.sessions.get((row.session, row.sequence)) == rid:
                del space.sessions[row.session, row.sequence]

    def _reserve(self, rows: int) -> None:
        extra = rows - len(self._kind)
        if extra > 0:
            extra = max(extra, len(self._kind) // 2)
            self._kind = np.concatenate([self._kind, np.full(extra, -1, np.int8)])
            self._environment = np.concatenate([self._environment, np.zeros(extra, np.int32)])
            self._scope = np.concatenate([self._scope, np.zeros(extra, np.int32)])


def _better(pairs: Sequence[tuple[int, int]], score: Callable[[Sequence[int]], Vectors]) -> Vectors:
    flat = np.nan_to_num(score([near for pair in pairs for near in pair]), nan=0.0)
    return np.asarray(flat.reshape(-1, 2).max(axis=1), dtype=np.float32)


def _names(row: IndexRow) -> list[str]:
    return [name.lower() for name in json.loads(row.entities)] if row.entities != "[]" else []


def _holds(row: IndexRow, at: float) -> bool:
    return (
        (row.valid_from is None or row.valid_from <= at)
        and (row.valid_to is None or at < row.valid_to)
        and (row.expires_at is None or at < row.expires_at)
    )
