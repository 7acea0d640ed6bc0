"""What is known of each recallable record by its row number: place, labels, validity, names, neighbours.

Columns of numbers, so that a filter over all records is a few comparisons of arrays. Labels and names
are fingerprints: no text can be read here.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Arrays, Columns
from agentevo_memory.journal import IndexRow
from agentevo_memory.language import fingerprint, words_in_order
from agentevo_memory.pool import Probe
from agentevo_memory.record import KINDS

_COLUMNS = {
    "mark": "u8",
    "space": "u8",
    "kind": "i1",
    "environment": "u8",
    "scope": "u8",
    "place": "u8",
    "valid_from": "f8",
    "valid_to": "f8",
    "expires_at": "f8",
    "question": "?",
    "slots": "i2",
}
_KIND = {kind: number for number, kind in enumerate(KINDS)}
_NAME_WORDS = 3
_RING = (1 << 64) - 1

Rids = NDArray[np.int64]


class Catalogue:
    """The properties of records, by row number; a row without a record is zero."""

    def __init__(self) -> None:
        self._columns = Columns(_COLUMNS)
        self._count = 0
        self._timed: Counter[int] = Counter()
        self._places: dict[int, int] = {}
        self._names_of: dict[int, tuple[int, ...]] = {}
        self._names: defaultdict[int, Counter[int]] = defaultdict(Counter)

    def __len__(self) -> int:
        """Return the number of records."""
        return self._count

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one column."""
        return self._columns[name]

    def rids(self) -> list[int]:
        """Return the row numbers of all records."""
        return [int(rid) for rid in np.flatnonzero(self._columns["space"])]

    def space_of(self, rid: int) -> int:
        """Return the fingerprint of a record's namespace; 0 if it is not here."""
        return int(self._columns["space"][rid]) if rid < len(self._columns) else 0

    def has(self, row: IndexRow) -> bool:
        """Return whether a record is here exactly as `row` says."""
        return bool(self.space_of(row.rid)) and int(self._columns["mark"][row.rid]) == _mark(row)

    def take(self, rows: Sequence[IndexRow]) -> None:
        """Take in records that are not here."""
        if not rows:
            return
        rids = [row.rid for row in rows]
        self._columns.resize(max(len(self._columns), max(rids) + 1))
        values: dict[str, list[Any]] = {
            "mark": [_mark(row) for row in rows],
            "space": [fingerprint(row.namespace) for row in rows],
            "kind": [_KIND[row.kind] for row in rows],
            "environment": [fingerprint(row.environment) for row in rows],
            "scope": [fingerprint(row.scope) for row in rows],
            "place": [_place(row) for row in rows],
            "valid_from": [_or(row.valid_from, -math.inf) for row in rows],
            "valid_to": [_or(row.valid_to, math.inf) for row in rows],
            "expires_at": [_or(row.expires_at, math.inf) for row in rows],
            "question": [row.gist.endswith(("?", "\uff1f")) for row in rows],
        }
        for name, column in values.items():
            self._columns[name][rids] = column
        for row in rows:
            if row.entities != "[]":
                names = {fingerprint(name.lower()) for name in json.loads(row.entities)}
                self._names_of[row.rid] = tuple(names)
        self._enter(rids)

    def drop(self, rids: Sequence[int]) -> None:
        """Forget records that are here."""
        if not rids:
            return
        self._timed.subtract(self._columns["space"][rids][self._is_timed(rids)].tolist())
        for rid in rids:
            place = int(self._columns["place"][rid])
            if self._places.get(place) == rid:
                del self._places[place]
            names = self._names[self.space_of(rid)]
            for name in self._names_of.pop(rid, ()):
                names[name] -= 1
                if not names[name]:
                    del names[name]
        for column in _COLUMNS:
            self._columns[column][rids] = 0
        self._count -= len(rids)

    def names_in(self, namespace: str, text: str) -> frozenset[str]:
        """Return the names known in a namespace that `text` mentions, lower case."""
        known = self._names.get(fingerprint(namespace))
        if not known:
            return frozenset()
        words = [word.removesuffix("'s").rstrip("?") for word in words_in_order(text)]
        phrases = {
            " ".join(words[start : start + length])
            for length in range(1, _NAME_WORDS + 1)
            for start in range(len(words) - length + 1)
        }
        return frozenset(phrase for phrase in phrases if fingerprint(phrase) in known)

    def named(self, rids: Sequence[int], names: frozenset[str]) -> NDArray[np.float32]:
        """Return the share of `names` that each record concerns."""
        if not names:
            return np.zeros(len(rids), np.float32)
        wanted = {fingerprint(name) for name in names}
        counts = [len(wanted.intersection(self._names_of.get(rid, ()))) for rid in rids]
        return np.array(counts, np.float32) / np.float32(len(names))

    def neighbours(self, rids: Rids) -> list[tuple[int, int]]:
        """Return the row numbers before and after each record in its session; -1 for none.

        The list is empty where no record belongs to a session.
        """
        if not self._places:
            return []
        get = self._places.get
        return [
            (get((place - 1) & _RING, -1), get((place + 1) & _RING, -1)) if place else (-1, -1)
            for place in self._columns["place"][rids].tolist()
        ]

    def allowed(self, probe: Probe) -> NDArray[np.bool_] | None:
        """Return a mask over row numbers of what passes the filters of a query; None for all."""
        columns, tests = self._columns, []
        if probe.kinds:
            kinds = [columns["kind"] == _KIND[kind] for kind in probe.kinds]
            tests.append(np.logical_or.reduce(kinds))
        for name, label in (("environment", probe.environment), ("scope", probe.scope)):
            if label is not None:
                tests.append(columns[name] == np.uint64(fingerprint(label)))
        space = fingerprint(probe.namespace)
        if self._timed[space]:
            tests.append(columns["valid_from"] <= probe.at)
            tests.append(columns["valid_to"] > probe.at)
            tests.append(columns["expires_at"] > probe.at)
        if not tests:
            return None
        mask: NDArray[np.bool_] = columns["space"] == np.uint64(space)
        for test in tests:
            mask &= test
        return mask

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that is held, for a snapshot."""
        named = [(rid, name) for rid, names in self._names_of.items() for name in names]
        return {
            **self._columns.arrays("catalogue/"),
            "names/rid": np.array([rid for rid, _ in named], np.int64),
            "names/name": np.array([name for _, name in named], np.uint64),
        }

    def adopt(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._columns.adopt(arrays, "catalogue/")
        found: defaultdict[int, list[int]] = defaultdict(list)
        pairs = zip(arrays["names/rid"].tolist(), arrays["names/name"].tolist(), strict=True)
        for rid, name in pairs:
            found[rid].append(name)
        self._names_of = {rid: tuple(names) for rid, names in found.items()}
        self._enter(self.rids())

    def _enter(self, rids: Sequence[int]) -> None:
        """Bring what is derived from the columns up to date with records that came in."""
        self._count += len(rids)
        self._timed.update(self._columns["space"][rids][self._is_timed(rids)].tolist())
        places = self._columns["place"][rids].tolist()
        self._places.update((place, rid) for place, rid in zip(places, rids, strict=True) if place)
        for rid in rids if self._names_of else ():
            self._names[self.space_of(rid)].update(self._names_of.get(rid, ()))

    def _is_timed(self, rids: Sequence[int]) -> NDArray[np.bool_]:
        limits = (
            -self._columns["valid_from"][rids],
            self._columns["valid_to"][rids],
            self._columns["expires_at"][rids],
        )
        finite: NDArray[np.bool_] = np.isfinite(np.min(limits, axis=0))
        return finite


def _mark(row: IndexRow) -> int:
    parts = (row.namespace, row.kind, *row[4:])
    return fingerprint("\x1d".join(map(str, parts)))


def _place(row: IndexRow) -> int:
    if not row.session:
        return 0
    return (fingerprint(f"{row.namespace}\x1e{row.session}") + row.sequence) & _RING


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
