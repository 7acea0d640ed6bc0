"""The generation log: an append-only, hash-chained record of what was made, judged and served.

Nothing is ever changed or deleted; serving another generation, tagging one and refusing one are
entries too. Every entry carries the hash of the one before it, so an edited or missing entry is
found by `verify`.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from agentevo.errors import AgentevoError
from agentevo.generations.generation import Generation, MemoryPosition

EventKind = Literal["created", "served", "refused", "tagged"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL,
  generation TEXT NOT NULL, content TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_generation ON entry(generation);
"""


class GenerationError(AgentevoError, LookupError):
    """A generation that is unknown, or a log that was tampered with."""


@dataclass(frozen=True, slots=True)
class GenerationEntry:
    """One entry of the log.

    Attributes:
        seq: Its number, from 1.
        time: Seconds since the epoch.
        kind: `created`, `served`, `refused`, or `tagged`.
        generation_id: Which generation.
        content: For `created` the generation, its parent and evidence; for `served` and
            `refused` the reason and the gate's verdict; for `tagged` the tag.
    """

    seq: int
    time: float
    kind: EventKind
    generation_id: str
    content: Mapping[str, Any]


class GenerationLog:
    """The log in one SQLite file. Safe for several processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._database() as database:
            database.executescript(_SCHEMA)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            yield database
        finally:
            database.close()

    def create(
        self,
        generation: Generation,
        *,
        parent: str | None,
        evidence: Mapping[str, Any] | None = None,
    ) -> str:
        """Record a new generation and return its id; recording it again changes nothing.

        Raises:
            GenerationError: The parent is unknown.
        """
        if parent is not None:
            parent = self.resolve(parent)
        if generation.id not in self.ids():
            content = {
                "generation": asdict(generation),
                "parent": parent,
                "evidence": dict(evidence or {}),
            }
            self._append("created", generation.id, content)
        return generation.id

    def serve(
        self,
        name: str,
        *,
        reason: str,
        verdict: Mapping[str, Any] | None = None,
        at: MemoryPosition | None = None,
    ) -> GenerationEntry:
        """Make a generation the one that is served.

        Args:
            name: The generation.
            reason: Why.
            verdict: What the gate saw.
            at: Where the memory stands now that it holds what the generation's position says;
                None for that very position.

        Raises:
            GenerationError: The gate refused it.
        """
        identifier = self.servable(name)
        position = at or self.get(identifier).memory
        content = {"reason": reason, "verdict": dict(verdict or {}), "memory": asdict(position)}
        return self._append("served", identifier, content)

    def servable(self, name: str) -> str:
        """Return the id of a generation that may be served.

        Raises:
            GenerationError: It is unknown, or the gate refused it.
        """
        identifier = self.resolve(name)
        if any(entry.generation_id == identifier for entry in self.entries("refused")):
            raise GenerationError(
                f"generation {identifier} was refused by the gate and is not served; "
                "make a new candidate"
            )
        return identifier

    def refuse(self, name: str, verdict: Mapping[str, Any]) -> GenerationEntry:
        """Record that the gate refused a generation; it is never served."""
        return self._append("refused", self.resolve(name), {"verdict": dict(verdict)})

    def tag(self, name: str, tag: str) -> GenerationEntry:
        """Give a generation a name of the user's own; the newest use of a tag counts.

        Raises:
            GenerationError: The tag could be mistaken for an id, or is empty.
        """
        if not tag or all(letter in "0123456789abcdef" for letter in tag):
            raise GenerationError(f"{tag!r} is no tag: use letters that no hexadecimal id has")
        return self._append("tagged", self.resolve(name), {"tag": tag})

    @property
    def served_id(self) -> str | None:
        """The generation that is served, None before the first."""
        served = self.entries("served")
        return served[-1].generation_id if served else None

    @property
    def served_at(self) -> MemoryPosition:
        """Where the memory stood when the served generation was put in place."""
        served = self.entries("served")
        return MemoryPosition(**served[-1].content["memory"]) if served else MemoryPosition()

    @property
    def previous_id(self) -> str:
        """The generation that was served before the present one.

        Raises:
            GenerationError: There is nothing before it.
        """
        served = [entry.generation_id for entry in self.entries("served")]
        earlier = [identifier for identifier in served if identifier != served[-1]]
        if not earlier:
            raise GenerationError("nothing to roll back: no other generation was ever served")
        return earlier[-1]

    def ids(self) -> Sequence[str]:
        """Return the ids of all generations, oldest first."""
        return [entry.generation_id for entry in self.entries("created")]

    def get(self, name: str) -> Generation:
        """Return a generation by id, id prefix or tag."""
        entry = self._creation(self.resolve(name))
        value = dict(entry.content["generation"])
        return Generation(**(value | {"memory": MemoryPosition(**value["memory"])}))

    def parent(self, name: str) -> str | None:
        """Return the id of the generation it was made from."""
        parent: str | None = self._creation(self.resolve(name)).content["parent"]
        return parent

    def resolve(self, name: str) -> str:
        """Return the id that an id, an id prefix, a tag or "served" names.

        Raises:
            GenerationError: It names none, or several.
        """
        if name == "served" and self.served_id is not None:
            return self.served_id
        tags = {entry.content["tag"]: entry.generation_id for entry in self.entries("tagged")}
        if name in tags:
            return str(tags[name])
        matches = [known for known in self.ids() if name and known.startswith(name)]
        if len(matches) != 1:
            listing = ", ".join([*self.ids(), *tags]) or "none yet"
            raise GenerationError(f"{name!r} names {len(matches)} generations; known: {listing}")
        return matches[0]

    def entries(self, kind: EventKind | None = None) -> Sequence[GenerationEntry]:
        """Return the entries, oldest first; all kinds when None."""
        kinds = (kind,) if kind else get_args(EventKind)
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT seq, time, kind, generation, content FROM entry WHERE kind IN ({marks})"
        with self._database() as database:
            rows = database.execute(f"{query} ORDER BY seq", kinds).fetchall()
        return [
            GenerationEntry(seq, stamp, name, generation, json.loads(content))
            for seq, stamp, name, generation, content in rows
        ]

    def verify(self) -> None:
        """Check the hash chain and that every generation is what its id says.

        Raises:
            GenerationError: An entry was changed, inserted or removed; names the first.
        """
        previous = ""
        with self._database() as database:
            rows = database.execute("SELECT * FROM entry ORDER BY seq").fetchall()
        for number, (seq, *fields, digest) in enumerate(rows, start=1):
            if seq != number or _link(previous, *fields) != digest:
                raise GenerationError(f"entry {number} of {self.path} was changed or removed")
            previous = digest
        for identifier in self.ids():
            if self.get(identifier).id != identifier:
                raise GenerationError(f"generation {identifier} is not what its id says")

    def _creation(self, identifier: str) -> GenerationEntry:
        return next(e for e in self.entries("created") if e.generation_id == identifier)

    def _append(
        self, kind: EventKind, identifier: str, content: Mapping[str, Any]
    ) -> GenerationEntry:
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")
            last = database.execute("SELECT hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
            now = time.time()
            digest = _link(last[0] if last else "", now, kind, identifier, text)
            cursor = database.execute(
                "INSERT INTO entry(time, kind, generation, content, hash) VALUES (?, ?, ?, ?, ?)",
                (now, kind, identifier, text, digest),
            )
            database.execute("COMMIT")
        return GenerationEntry(cursor.lastrowid or 0, now, kind, identifier, content)


def _link(previous: str, *fields: object) -> str:
    return hashlib.sha256("\x1f".join([previous, *map(str, fields)]).encode()).hexdigest()
