"""`VectorMemory`: the one class that a user of the memory needs.

A store is a folder. The journal in it is the truth; everything else is derived from it. One object may
be used from several threads, and one folder from several processes.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.disk import storage_errors
from agentevo_memory.embedding.base import DEFAULT_EMBEDDER, Embedder, embed_checked, init_embedder
from agentevo_memory.errors import IndexDamagedError, RecordError
from agentevo_memory.follower import Follower, Progress, View, embed_missing, historical_view
from agentevo_memory.indexes.choice import choose_index
from agentevo_memory.indexes.chroma_files import drop_files
from agentevo_memory.journal import Journal
from agentevo_memory.operations import reflect as reflecting
from agentevo_memory.operations.insert import InsertResult, insert
from agentevo_memory.operations.material import Scope, experience_ids, gather
from agentevo_memory.operations.offer import Offers
from agentevo_memory.operations.put import Entry, put
from agentevo_memory.operations.put import remove as drop
from agentevo_memory.operations.reflect import Reflection, Reflector
from agentevo_memory.operations.screening import Verifier
from agentevo_memory.operations.search import SearchResult, check_query, is_default, search
from agentevo_memory.record import Draft, Provenance, Record
from agentevo_memory.retrieval import Query
from agentevo_memory.transfer import Imported, import_into, parse
from agentevo_memory.upkeep import Upkeep

Vectors = NDArray[np.float32]


class VectorMemory(Upkeep):
    """A memory of experiences, rules, skills, facts and summaries.

    Args:
        folder: Where it lies; created if missing.
        embedder: An embedder or the name of a built-in one.
        index: `auto`, `exact`, `chroma`, or `chroma:http://HOST:PORT`.
        read_only: Never write; writing calls raise StoreReadOnlyError.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        embedder: Embedder | str = DEFAULT_EMBEDDER,
        index: str = "auto",
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(Journal(Path(folder), read_only=read_only, clock=clock))
        self.embedder = init_embedder(embedder) if isinstance(embedder, str) else embedder
        self._offers = Offers(self.journal, self.embedder)
        self._index_name = index
        self._follower: Follower | None = None

    def insert(
        self,
        draft: Draft | str,
        *,
        vector: Vectors | None = None,
        supersedes: Sequence[str] = (),
        idempotency_key: str = "",
        verify: Verifier | None = None,
    ) -> InsertResult:
        """Take in one record; see `operations.insert` for what may become of it.

        Args:
            draft: The record, or the text of a fact.
            vector: Its embedding by this store's embedder, if it is known already.
            supersedes: Ids of records that it replaces.
            idempotency_key: A key is carried out once; later calls return the first result.
            verify: Checks a rule before it is written; it runs outside the transaction.

        Raises:
            RecordError: If the record cannot be stored.
            UnknownRecordError: If a parent or a superseded record does not exist.
            EmbeddingError: If `vector` is not finite or has the wrong dimension.
        """
        given = draft if isinstance(draft, Draft) else Draft(text=draft)
        vectors = None if vector is None else np.expand_dims(np.asarray(vector), 0)
        offer = replace(
            self._offers.one(given, verify, vectors),
            supersedes=tuple(supersedes),
            idempotency_key=idempotency_key,
        )
        with self._writing("insert", given.provenance) as tx:
            return insert(self.journal, tx, offer)

    def insert_many(
        self,
        drafts: Sequence[Draft],
        *,
        vectors: Vectors | None = None,
        idempotency_keys: Sequence[str] = (),
    ) -> list[InsertResult]:
        """Take in records in one transaction: all or none."""
        if not drafts:
            return []
        keys = idempotency_keys or [""] * len(drafts)
        if len(keys) != len(drafts):
            raise RecordError(
                f"{len(keys)} idempotency keys for {len(drafts)} drafts; one for each"
            )
        offers = list(self._offers.of(drafts, vectors))
        with self._writing("insert", drafts[0].provenance) as tx:
            return [
                insert(self.journal, tx, replace(offer, idempotency_key=key))
                for offer, key in zip(offers, keys, strict=True)
            ]

    def search(self, query: Query | str, *, k: int = 10) -> SearchResult:
        """Return the records that matter for a query, best first, each with an explanation.

        Args:
            query: A query, or its text for the default namespace.
            k: At most so many hits; ignored if `query` is a Query.

        Raises:
            RecordError: If the query is empty or malformed.
            IndexUnavailableError: If the index is on a server that does not answer.
        """
        asked = query if isinstance(query, Query) else Query(text=query, k=k)
        check_query(asked)
        with self._lock:
            try:
                return self._search(asked)
            except IndexDamagedError:
                self._drop_caches()
                return self._search(asked)

    def put(
        self, entries: Sequence[Entry], *, remove: Sequence[tuple[tuple[str, ...], str]] = ()
    ) -> list[Record]:
        """Keep one record per namespace and key; `remove` drops others in the same transaction."""
        texts = [text for entry in entries for text in entry.texts]
        vectors = iter(embed_checked(self.embedder, texts)) if texts else iter(())
        made = [
            {
                (slot, self.embedder.model_id): next(vectors).tobytes()
                for slot in range(len(e.texts))
            }
            for e in entries
        ]
        with self._writing("put", Provenance()) as tx:
            drop(self.journal, tx, remove)
            return [put(self.journal, tx, e, v) for e, v in zip(entries, made, strict=True)]

    def rank(self, text: str, records: Sequence[Record]) -> dict[str, float]:
        """Return the cosine of a text with each of the records that has a vector, by id."""
        with self._lock:
            self.follower.follow()
            vector = embed_checked(self.embedder, [text])[0]
            return self.follower.cosines(vector, records)

    def reflect(
        self,
        reflector: Reflector,
        scope: Scope | None = None,
        *,
        reflector_id: str = "",
        verify: Verifier | None = None,
        dry_run: bool = False,
    ) -> Reflection:
        """Turn experiences into rules by a callable; see `operations.reflect`.

        Args:
            reflector: Proposes operations on rules.
            scope: Which experiences; by default those of the default namespace.
            reflector_id: A set of experiences is reflected on once per id.
            verify: Checks each new rule; one that passes is active at once.
            dry_run: Only say what would happen.

        Raises:
            RecordError: If a proposal names a rule or parent outside the material.
        """
        where = scope or Scope()
        name = reflector_id or getattr(reflector, "__qualname__", type(reflector).__name__)
        material = gather(self.journal, where)
        ids = experience_ids(material)
        if not ids:
            return Reflection((), ())
        done = self.journal.remembered(reflecting.input_key(material, where, name))
        if done is not None and not dry_run:
            return Reflection((), ids, repeated=True)
        context = reflecting.Context(
            where, material, lambda draft: self._offers.one(draft, verify), name
        )
        proposals = list(reflector(material))
        reflecting.drafts(proposals, context)
        if dry_run:
            return Reflection(reflecting.preview(proposals, material), ids)
        with self._writing("reflect", Provenance(actor=name, run_id=where.run_id)) as tx:
            if self.journal.remembered(reflecting.input_key(material, where, name)) is not None:
                return Reflection((), ids, repeated=True)
            steps = reflecting.carry_out(self.journal, tx, proposals, context)
            return Reflection(steps, ids, operation=tx.operation)

    def import_lines(self, lines: Iterable[str], *, trusted: bool = False) -> Imported:
        """Take in an export in JSONL or Markdown, under the ids that the records have.

        Args:
            lines: The export.
            trusted: Take over trust and status; otherwise nothing in it may instruct.

        Raises:
            RecordError: If it is no complete export; nothing was stored.
        """
        records, edges = parse(lines)
        with self._writing("import", Provenance(origin="import")) as tx:
            done = import_into(self.journal, tx, records, edges, trusted=trusted)
        embed_missing(self.journal, self.embedder)
        return done

    def reindex(self, progress: Progress | None = None) -> int:
        """Drop every index and vector of another model, and build them again.

        Returns:
            The number of texts that were embedded.
        """
        with self._lock:
            done = embed_missing(self.journal, self.embedder, progress)
            self._drop_caches()
            self.follower.follow()
            self.follower.flush()
            return done

    @property
    def follower(self) -> Follower:
        """The searchable state; built at first use."""
        with self._lock:
            if self._follower is None:
                if not self.journal.read_only:
                    embed_missing(self.journal, self.embedder)
                with storage_errors(self.journal.folder / "index"):
                    dense = choose_index(self._index_name, self.journal, self.embedder.model_id)
                self._follower = Follower(self.journal, self.embedder, dense)
            return self._follower

    def close(self) -> None:
        """Release the store; a second call does nothing."""
        with self._lock:
            if self._follower is not None:
                self._follower.close()
                self._follower = None
            self.journal.close()

    def _drop_caches(self) -> None:
        if self._follower is not None:
            self._follower.close(keep=False)
            self._follower = None
        drop_files(self.journal.folder / "index")

    def _search(self, asked: Query) -> SearchResult:
        view = View(self.follower.follow(), self.journal.by_rids)
        seq = self.follower.seq
        if not is_default(asked):
            view = historical_view(self.journal, self.embedder, asked.statuses, asked.known_at)
        weights, now = self.weights(asked.namespace), self.journal.clock()
        hits = search(asked, view, self.embedder, weights, now=now)
        result = SearchResult(hits, "" if hits else self._why_empty(asked), seq)
        self._explained.keep(result)
        return result

    def _why_empty(self, query: Query) -> str:
        if query.namespace not in self.journal.namespaces():
            return f"namespace {query.namespace!r} holds no records"
        return f"nothing with evidence of at least {query.floor}"

    def __enter__(self) -> "VectorMemory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
