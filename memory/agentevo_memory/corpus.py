"""The searchable state of recallable records: catalogue, words and vectors.

A corpus follows the journal: `apply` takes the rows that changed. It answers with the raw scores of a
pool of candidates; ranking is the business of `retrieval`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.catalogue import Catalogue
from agentevo_memory.columns import Arrays
from agentevo_memory.indexes.base import DenseIndex, Nearest
from agentevo_memory.indexes.lexical import Postings
from agentevo_memory.indexes.match import Match
from agentevo_memory.indexes.places import Places
from agentevo_memory.indexes.selection import merged
from agentevo_memory.journal import IndexRow
from agentevo_memory.language import fingerprint, term_keys
from agentevo_memory.pool import Pool, Probe, partition_of
from agentevo_memory.record import Status

POOL = 100

Vectors = NDArray[np.float32]
Rids = NDArray[np.int64]
SlotVectors = Mapping[int, Sequence[tuple[int, Vectors]]]
"""Vectors by row number: pairs of slot and unit vector."""


class Corpus:
    """The recallable records of a store."""

    def __init__(self, dense: DenseIndex, statuses: frozenset[Status]) -> None:
        self.dense = dense
        self.statuses = statuses
        self._catalogue = Catalogue()
        self._postings: dict[int, Postings] = {}
        self._places = Places()

    def __len__(self) -> int:
        """Return the number of records held."""
        return len(self._catalogue)

    def rids(self) -> list[int]:
        """Return the row numbers held."""
        return self._catalogue.rids()

    def apply(self, rows: Sequence[IndexRow], vectors: SlotVectors) -> None:
        """Take over the present state of changed records."""
        live = [row for row in rows if row.status in self.statuses]
        gone = [row.rid for row in rows if row.status not in self.statuses]
        gone = [rid for rid in gone if self._catalogue.space_of(rid)]
        fresh = [row for row in live if not self._catalogue.has(row)]
        stale = [row.rid for row in fresh if self._catalogue.space_of(row.rid)]
        shrunk = [row.rid for row in live if self._has_fewer_slots(row, vectors)]
        self.dense.remove([*gone, *stale, *shrunk])
        self._drop([*gone, *stale])
        self._take(fresh)
        self.hold(live, vectors)

    def hold(self, rows: Sequence[IndexRow], vectors: SlotVectors) -> None:
        """Put the vectors of records that are held into the dense index."""
        batches: dict[tuple[str, int], list[tuple[int, Vectors]]] = defaultdict(list)
        for row in rows:
            slots = vectors.get(row.rid, ())
            self._catalogue["slots"][row.rid] = len(slots)
            for slot, vector in slots:
                batches[partition_of(row.namespace, row.kind), slot].append((row.rid, vector))
        for (partition, slot), entries in batches.items():
            matrix = np.stack([vector for _, vector in entries])
            self.dense.put(partition, slot, [rid for rid, _ in entries], matrix)

    def names_in(self, namespace: str, text: str) -> frozenset[str]:
        """Return the names known in a namespace that `text` mentions, lower case."""
        return self._catalogue.names_in(namespace, text)

    def pool(self, probe: Probe) -> Pool | None:
        """Return the candidates for a query, or None where nothing can be found."""
        postings = self._postings.get(fingerprint(probe.namespace))
        if postings is None:
            return None
        allowed = self._catalogue.allowed(probe)
        wanted = max(POOL, 2 * probe.limit)
        match = postings.match(term_keys(probe.text))
        rids, near = np.sort(match.best(wanted, allowed).rids), None
        if probe.vector is not None:
            near = self.dense.nearest(probe.partitions, probe.vector, wanted, allowed)
            rids = merged(rids, near.rids)
        around = np.array(self._catalogue.neighbours(rids), np.int64).reshape(-1)
        around = around[around >= 0]
        if len(around):
            rids = merged(rids, around if allowed is None else around[allowed[around]])
        if not len(rids):
            return None
        return self._score(probe, match, self._cosines(probe, rids, near))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that is held, for a snapshot."""
        found = {**self._catalogue.arrays(), **self.dense.arrays()}
        for space, postings in self._postings.items():
            found |= postings.arrays(f"words/{space}/")
        return found

    def adopt(self, arrays: Arrays) -> bool:
        """Take over what `arrays` gave; False if the dense index must be filled again."""
        self._catalogue.adopt(arrays)
        for name in arrays:
            head, _, column = name.rpartition("/")
            if head.startswith("words/") and column == "terms":
                self._postings_of(int(head.removeprefix("words/"))).adopt(arrays, f"{head}/")
        return self.dense.adopt(arrays)

    def _cosines(self, probe: Probe, rids: Rids, near: Nearest | None) -> Nearest:
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

    def _score(self, probe: Probe, match: Match, found: Nearest) -> Pool:
        rids, dense = found
        lexical = match.scores(rids)
        around = self._catalogue.neighbours(rids)
        near_dense = near_lexical = np.zeros(len(rids), dtype=np.float32)
        if any(before >= 0 or after >= 0 for before, after in around):
            near_lexical = _better(around, match.scores)
            if (vector := probe.vector) is not None:
                near_dense = _better(
                    around, lambda near: self.dense.scores(probe.partitions, vector, near)
                )
        return Pool(
            rids,
            dense,
            lexical,
            lexical / np.float32(max(match.ceiling, 1e-9)),
            self._catalogue.named(rids.tolist(), probe.names),
            near_dense,
            near_lexical,
            self._catalogue["question"][rids].astype(np.float32),
        )

    def _has_fewer_slots(self, row: IndexRow, vectors: SlotVectors) -> bool:
        held = self._catalogue.space_of(row.rid) and self._catalogue["slots"][row.rid]
        return bool(held > len(vectors.get(row.rid, ())))

    def _take(self, rows: Sequence[IndexRow]) -> None:
        self._catalogue.take(rows)
        spaces: dict[str, list[IndexRow]] = defaultdict(list)
        for row in rows:
            spaces[row.namespace].append(row)
        for namespace, members in spaces.items():
            postings = self._postings_of(fingerprint(namespace))
            postings.put([row.rid for row in members], [term_keys(row.gist) for row in members])

    def _postings_of(self, space: int) -> Postings:
        if space not in self._postings:
            self._postings[space] = Postings(len(self._postings) + 1, self._places)
        return self._postings[space]

    def _drop(self, rids: Sequence[int]) -> None:
        spaces: dict[int, list[int]] = defaultdict(list)
        for rid in rids:
            spaces[self._catalogue.space_of(rid)].append(rid)
        for space, members in spaces.items():
            self._postings[space].remove(members)
        self._catalogue.drop(rids)


def _better(pairs: Sequence[tuple[int, int]], score: Callable[[Sequence[int]], Vectors]) -> Vectors:
    flat = np.nan_to_num(score([near for pair in pairs for near in pair]), nan=0.0)
    return np.asarray(flat.reshape(-1, 2).max(axis=1), dtype=np.float32)
