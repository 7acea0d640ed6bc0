"""The words of one namespace in memory: postings built in bulk and grown by appending.

Terms are fingerprints, so that no text can be read here. A removed document is masked until a fifth of
all is dead.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Arrays, Columns
from agentevo_memory.indexes.match import K1, B, Documents, Match, Part, Term, Times
from agentevo_memory.indexes.places import Places

_BULK = 500
_TAIL_MIN = 4_000
_TAIL_SHARE = 4
_PACK_SHARE = 5
_PACK_MIN = 256
_FREQUENT_MIN = 512
_FREQUENT_SHARE = 16
_PREPARED_MAX = 10_000
_TIMES_MAX = 65_535
_DOCUMENT = {"rid": "i8", "length": "f4", "live": "?"}


class Postings:
    """The documents of one namespace by their terms.

    Args:
        number: By which `places` knows this namespace; from 1 on.
        places: In which namespace, and in which row of it, each document lies.
    """

    def __init__(self, number: int = 1, places: Places | None = None) -> None:
        self._number = number
        self._places = Places() if places is None else places
        self._count = 0
        self._terms: dict[int, int] = {}
        self._starts = np.zeros(1, np.int64)
        self._packed = Part(np.zeros(0, np.int32), np.zeros(0, np.uint16))
        self._tail: dict[int, tuple[array[int], array[int]]] = {}
        self._documents = Columns(_DOCUMENT)
        self._prepared: dict[int, Term] = {}
        self._tables: dict[int, Times] = {}
        self._seen: Documents | None = None
        self._length = 0.0
        self._packed_documents = 0

    def put(self, rids: Sequence[int], documents: Sequence[Sequence[int]]) -> None:
        """Add documents as lists of terms, replacing those of the same row numbers."""
        self.remove(rids)
        first = len(self._documents)
        lengths = [len(terms) for terms in documents]
        self._documents.resize(first + len(rids))
        self._documents["rid"][first:] = rids
        self._documents["length"][first:] = lengths
        self._documents["live"][first:] = True
        own = np.arange(first, len(self._documents))
        self._places.enter(np.array(rids, np.int64), self._number, own)
        self._count += len(rids)
        self._length += sum(lengths)
        self._forget_prepared()
        if len(rids) >= _BULK:
            self._pack(self._counted(first, documents, lengths))
            return
        tail = len(self._documents) - self._packed_documents
        if tail > max(_TAIL_MIN, len(self._documents) // _TAIL_SHARE):
            self._pack()
            first = len(self._documents) - len(rids)
        for row, terms in enumerate(documents, first):
            for term, times in Counter(terms).items():
                number = self._terms.setdefault(term, len(self._terms))
                rows, counts = self._tail.setdefault(number, (array("i"), array("H")))
                rows.append(row)
                counts.append(min(times, _TIMES_MAX))

    def remove(self, rids: Iterable[int]) -> None:
        """Drop documents; unknown ones are ignored."""
        held = np.unique(np.fromiter(rids, np.int64))
        rows = self._places.rows_in(self._number, held)
        held, rows = held[rows >= 0], rows[rows >= 0]
        if not len(held):
            return
        self._places.enter(held, 0, np.zeros(len(held), np.int32))
        self._count -= len(held)
        self._documents["live"][rows] = False
        self._length -= float(self._documents["length"][rows].sum())
        self._forget_prepared()
        dead = len(self._documents) - self._count
        if dead > max(_PACK_MIN, len(self._documents) // _PACK_SHARE):
            self._pack()

    def match(self, terms: Iterable[int]) -> Match:
        """Return the answer to a query, from which single scores can be asked."""
        asked = [self._prepare(term) for term in dict.fromkeys(terms)]
        found = sorted((term for term in asked if term.parts), key=lambda term: -term.bound)
        return Match(self._looked_at(), found, sum(term.weight for term in asked) / 2)

    def __len__(self) -> int:
        """Return the number of documents."""
        return self._count

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return all that is held, packed."""
        self._pack()
        return {
            f"{prefix}terms": np.fromiter(self._terms, np.uint64, len(self._terms)),
            f"{prefix}starts": self._starts,
            f"{prefix}rows": self._packed.rows,
            f"{prefix}times": self._packed.times,
            **self._documents.arrays(prefix),
        }

    def adopt(self, arrays: Arrays, prefix: str) -> None:
        """Take over what `arrays` gave."""
        self._terms = {term: i for i, term in enumerate(arrays[f"{prefix}terms"].tolist())}
        self._starts = arrays[f"{prefix}starts"]
        self._packed = Part(arrays[f"{prefix}rows"], arrays[f"{prefix}times"])
        self._documents.adopt(arrays, prefix)
        self._count_rows()

    def _looked_at(self) -> Documents:
        if self._seen is None:
            norms = self._documents["length"] * np.float32(self._per_term)
            norms += np.float32(K1 * (1 - B))
            rids, live = self._documents["rid"], self._documents["live"]
            self._seen = Documents(rids, live, norms, self._count, self._rows_of)
        return self._seen

    def _rows_of(self, rids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int32]:
        return self._places.rows_in(self._number, rids)

    @property
    def _per_term(self) -> float:
        return K1 * B * self._count / max(self._length, 1.0)

    def _prepare(self, key: int) -> Term:
        """Return a term as the documents are now."""
        term = self._prepared.get(key)
        if term is None:
            if len(self._prepared) >= _PREPARED_MAX:
                self._prepared.clear()
            parts = self._parts(self._terms.get(key, -1))
            count, frequency = self._count, self._frequency(parts)
            weight = (K1 + 1) * math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))
            most = max((int(part.times.max()) for part in parts), default=0)
            bound = weight * most / (most * (1 + self._per_term) + K1 * (1 - B))
            term = self._prepared[key] = Term(weight, bound, parts)
        return term

    def _parts(self, number: int) -> tuple[Part, ...]:
        parts = []
        if 0 <= number < len(self._starts) - 1:
            where = slice(self._starts[number], self._starts[number + 1])
            rows, times = self._packed.rows[where], self._packed.times[where]
            parts.append(Part(rows, times, self._table(number, rows, times)))
        if number in self._tail:
            late, counts = self._tail[number]
            parts.append(Part(np.array(late, np.int32), np.array(counts, np.uint16)))
        return tuple(part for part in parts if len(part.rows))

    def _table(self, number: int, rows: NDArray[np.int32], times: Times) -> Times | None:
        """Return how often a frequent term occurs in each packed document; None for a rare one."""
        if len(rows) < max(_FREQUENT_MIN, self._packed_documents // _FREQUENT_SHARE):
            return None
        if number not in self._tables:
            table = self._tables[number] = np.zeros(self._packed_documents + 1, np.uint16)
            table[rows] = times
        return self._tables[number]

    def _frequency(self, parts: tuple[Part, ...]) -> int:
        live = self._documents["live"]
        return sum(
            len(part.rows) if self._count == len(live) else int(np.count_nonzero(live[part.rows]))
            for part in parts
        )

    def _forget_prepared(self) -> None:
        self._prepared.clear()
        self._seen = None

    def _counted(
        self, first: int, documents: Sequence[Sequence[int]], lengths: Sequence[int]
    ) -> tuple[NDArray[np.int64], Part]:
        number = self._terms
        flat = np.array(
            [number.setdefault(term, len(number)) for terms in documents for term in terms],
            dtype=np.int64,
        )
        owners = np.repeat(np.arange(first, first + len(documents)), lengths)
        codes, times = np.unique(owners * max(len(number), 1) + flat, return_counts=True)
        rows, terms = np.divmod(codes, max(len(number), 1))
        return terms, Part(rows.astype(np.int32), np.minimum(times, _TIMES_MAX).astype(np.uint16))

    def _pack(self, new: tuple[NDArray[np.int64], Part] | None = None) -> None:
        """Bring everything into one piece, without dead documents and the terms of only those."""
        sizes = np.diff(self._starts)
        terms, parts = [np.repeat(np.arange(len(sizes)), sizes)], [self._packed]
        for number, (late, counts) in sorted(self._tail.items()):
            terms.append(np.full(len(late), number))
            parts.append(Part(np.array(late, np.int32), np.array(counts, np.uint16)))
        if new is not None:
            terms.append(new[0])
            parts.append(new[1])
        self._tail.clear()
        rows = np.concatenate([part.rows for part in parts])
        times = np.concatenate([part.times for part in parts])
        self._sort(np.concatenate(terms), Part(rows, times))

    def _sort(self, terms: NDArray[np.int64], entries: Part) -> None:
        live = self._documents["live"].copy()
        if not live.all():
            kept = live[entries.rows]
            place = np.cumsum(live, dtype=np.int32) - np.int32(1)
            terms, entries = terms[kept], Part(place[entries.rows[kept]], entries.times[kept])
            self._documents.keep(live)
        order = np.argsort(terms, kind="stable")
        counts = np.bincount(terms, minlength=len(self._terms))
        self._packed = Part(entries.rows[order], entries.times[order])
        self._starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
        used = [term for term, count in zip(self._terms, counts.tolist(), strict=True) if count]
        self._terms = {term: i for i, term in enumerate(used)}
        self._count_rows()

    def _count_rows(self) -> None:
        self._count = self._packed_documents = len(self._documents)
        self._places.enter(self._documents["rid"], self._number, np.arange(self._count))
        self._length = float(self._documents["length"].sum(dtype=np.float64))
        self._tables.clear()
        self._forget_prepared()
