"""Keeping the searchable state in step with the journal, in every process by itself.

`follow` reads what changed since it last looked; nothing else tells a process what another one wrote,
so an answer is never older than the question.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.corpus import Corpus, SlotVectors
from agentevo_memory.embedding.base import Embedder, embed_checked
from agentevo_memory.errors import EmbeddingError
from agentevo_memory.history import records_at
from agentevo_memory.indexes.base import DenseIndex
from agentevo_memory.indexes.exact import ExactIndex
from agentevo_memory.journal import IndexRow, Journal
from agentevo_memory.pool import partition_of
from agentevo_memory.record import RECALLABLE, Record, Status
from agentevo_memory.snapshot import Snapshot
from agentevo_memory.transaction import dump, pack_namespace

EMBED_BATCH = 256
FEW_ROWS = 1000

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of all."""

Vectors = NDArray[np.float32]


class Follower:
    """The corpus of what may be recalled, following one journal."""

    def __init__(self, journal: Journal, embedder: Embedder, dense: DenseIndex) -> None:
        self._journal = journal
        self._embedder = embedder
        self._dense = dense
        self._corpus = Corpus(dense, RECALLABLE)
        self._snapshot = Snapshot(journal, f"{embedder.model_id}/{dense.name}")
        self._seq = 0

    def follow(self) -> Corpus:
        """Take over what changed and return the corpus."""
        head = self._journal.head()
        if head != self._seq:
            if head < self._seq:
                self.restart()
            first = not self._seq
            if first:
                self._resume()
            rows = self._journal.index_rows(self._seq)
            self._corpus.apply(rows, load_vectors(self._journal, self._embedder, rows))
            self._seq = head
            self._snapshot.grow(len(rows))
            if first:
                self._dense.settle()
                self._snapshot.save(self._corpus, self._seq)
        return self._corpus

    def cosines(self, vector: Vectors, records: Sequence[Record]) -> dict[str, float]:
        """Return the cosine of a vector with each record that has one, by id."""
        marks = str([record.id for record in records])
        found = self._journal.query(
            "SELECT rid, id, namespace, kind FROM record WHERE id IN (SELECT value FROM json_each(?))",
            (marks.replace("'", '"'),),
        )
        spaces: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for rid, record_id, namespace, kind in found:
            spaces[partition_of(namespace, kind)].append((rid, record_id))
        scores: dict[str, float] = {}
        for partition, members in spaces.items():
            values = self._dense.scores((partition,), vector, [rid for rid, _ in members])
            for (_, record_id), value in zip(members, values.tolist(), strict=True):
                if not math.isnan(value):
                    scores[record_id] = value
        return scores

    def restart(self) -> None:
        """Forget everything; the next `follow` reads the whole journal."""
        self._dense.remove(self._corpus.rids())
        self._corpus = Corpus(self._dense, RECALLABLE)
        self._seq = 0

    def _resume(self) -> None:
        arrays = self._snapshot.load()
        if arrays is None:
            return
        self._seq = self._snapshot.seq
        if not self._corpus.adopt(arrays):
            held = set(self._corpus.rids())
            rows = [row for row in self._journal.index_rows() if row.rid in held]
            self._corpus.hold(rows, load_vectors(self._journal, self._embedder, rows))

    def flush(self) -> None:
        """Write the index to its files."""
        self._dense.flush()
        self._snapshot.save(self._corpus, self._seq)

    @property
    def index(self) -> DenseIndex:
        """The dense index in use."""
        return self._dense

    @property
    def rebuilt(self) -> str:
        """Why the files of an index were not used, or ""."""
        return self._snapshot.refused or getattr(self._dense, "rebuilt", "")

    def close(self, *, keep: bool = True) -> None:
        """Release the index, after keeping what was learnt since it was opened."""
        if keep:
            self._snapshot.save(self._corpus, self._seq)
        self._dense.close()

    @property
    def seq(self) -> int:
        """Sequence number up to which the journal was followed."""
        return self._seq


def load_vectors(journal: Journal, embedder: Embedder, rows: Sequence[IndexRow]) -> SlotVectors:
    """Return the stored vectors of `rows`, by row number."""
    few = "AND rid IN (SELECT value FROM json_each(?))" if len(rows) < FEW_ROWS else "AND ?<>''"
    wanted = str([row.rid for row in rows])
    found: dict[int, list[tuple[int, Vectors]]] = defaultdict(list)
    sql = f"SELECT rid, slot, data FROM vector WHERE model=? {few}"
    for rid, slot, data in journal.query(sql, (embedder.model_id, wanted)):
        found[rid].append((slot, unpack(data, embedder.dimension)))
    return found


def unpack(data: bytes, dimension: int) -> Vectors:
    """Return a stored vector.

    Raises:
        EmbeddingError: If it has another dimension than the embedder's.
    """
    if len(data) != 4 * dimension:
        raise EmbeddingError(
            f"a stored vector has {len(data) // 4} dimensions, the embedder gives {dimension}; "
            "run `agentevo memory reindex --embedder NAME`"
        )
    return np.frombuffer(data, dtype="<f4")


def embed_missing(journal: Journal, embedder: Embedder, progress: Progress | None = None) -> int:
    """Give every record a vector of the present model; then drop those of other models.

    Interrupted, it goes on where it stopped; until it is done the old vectors stay.

    Returns:
        The number of records that were embedded.
    """
    rows = journal.query(
        "SELECT id, gist FROM record WHERE status<>'erased' AND gist<>'' AND NOT EXISTS"
        " (SELECT 1 FROM vector WHERE vector.rid=record.rid AND model=?) ORDER BY rid",
        (embedder.model_id,),
    )
    for start in range(0, len(rows), EMBED_BATCH):
        batch = rows[start : start + EMBED_BATCH]
        vectors = embed_checked(embedder, [gist for _, gist in batch])
        with journal.transaction("embed") as tx:
            for (record_id, _), vector in zip(batch, vectors, strict=True):
                tx.set_vectors(record_id, {(0, embedder.model_id): vector.tobytes()})
                tx.touch(record_id)
        if progress is not None:
            progress(min(start + EMBED_BATCH, len(rows)), len(rows))
    old = journal.query("SELECT DISTINCT model FROM vector WHERE model<>?", (embedder.model_id,))
    if old:
        with journal.transaction("embed") as tx:
            for (model,) in old:
                tx.drop_vectors(model=model)
            tx.note({"model": embedder.model_id})
    return len(rows)


@dataclass(frozen=True, slots=True)
class View:
    """Something to search: a corpus, and the records behind its row numbers."""

    corpus: Corpus
    records: Callable[[Sequence[int]], Mapping[int, Record]]


def historical_view(
    journal: Journal, embedder: Embedder, statuses: frozenset[Status], until: float | None
) -> View:
    """Return a view of other statuses, or of what was known at an earlier time."""
    if until is None:
        rows, fetch = journal.index_rows(), journal.by_rids
    else:
        numbers = dict(journal.query("SELECT id, rid FROM record"))
        known = {numbers[record.id]: record for record in records_at(journal, until)}
        rows = [_row(rid, record) for rid, record in known.items()]

        def fetch(rids: Sequence[int]) -> dict[int, Record]:
            return {rid: known[rid] for rid in rids}

    corpus = Corpus(ExactIndex(), statuses)
    corpus.apply(rows, load_vectors(journal, embedder, rows))
    return View(corpus, fetch)


def _row(rid: int, record: Record) -> IndexRow:
    return IndexRow(
        rid,
        pack_namespace(record.namespace),
        record.kind,
        record.status,
        record.environment,
        record.scope,
        record.indexed_text,
        dump(record.entities),
        record.valid_from,
        record.valid_to,
        record.expires_at,
        record.session,
        record.sequence,
    )
