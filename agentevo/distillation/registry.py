"""The adapter registry: immutable, content-addressed adapters and the pointer to the active one.

An adapter lives in `<root>/<id>/` (`manifest.json`, `adapter.gguf`, `rows.jsonl`, `peft/`). It is
written to a temporary folder, fsynced, renamed, and registered last, so that a kill at any moment
leaves either the whole adapter or nothing. The pointer is an append-only history in SQLite:
rollback is one more row.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agentevo.errors import AdapterError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS adapter(id TEXT PRIMARY KEY, created REAL NOT NULL, base TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS activation(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, adapter TEXT, time REAL NOT NULL, reason TEXT NOT NULL);
"""
_UNREGISTERED = ".incomplete-"
_LEFTOVER_AGE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an adapter is made of; enough to audit it and to make it again.

    Attributes:
        base_sha256: Hash of the base model file that it belongs to.
        adapter_sha256: Hash of `adapter.gguf`.
        method: `context`, `sft`, `on_policy`, `dpo`, or `merge`.
        rule_ids: Memory records of kind rule that it holds.
        record_ids: All memory records in the lineage of its rows.
        rows_sha256: Hash of `rows.jsonl`, the exact training rows; "" for merges.
        parents: Adapters that it was merged from.
        settings: Every number of the training.
        metrics: What was measured: training losses, parity, probes.
        versions: Package versions.
        created: Seconds since the epoch.
    """

    base_sha256: str
    adapter_sha256: str
    method: str
    rule_ids: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    rows_sha256: str = ""
    parents: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: float = 0.0

    @property
    def id(self) -> str:
        """The adapter's id: the hash of its weights together with its base."""
        return hashlib.sha256(f"{self.base_sha256}:{self.adapter_sha256}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A registered adapter: its manifest and where its files are."""

    manifest: Manifest
    folder: Path

    @property
    def id(self) -> str:
        """The content-addressed id."""
        return self.manifest.id

    @property
    def gguf(self) -> Path:
        """The file that the engine loads."""
        return self.folder / "adapter.gguf"


@dataclass(frozen=True, slots=True)
class Activation:
    """One entry of the pointer's history; `adapter_id` None means the bare base model."""

    seq: int
    adapter_id: str | None
    time: float
    reason: str


class AdapterRegistry:
    """All adapters below one folder. Safe for several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        with self._database() as database:
            database.executescript(_SCHEMA)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.root / "registry.sqlite", timeout=30)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            with database:
                yield database
        finally:
            database.close()

    def register(self, source: Path, manifest: Manifest) -> Adapter:
        """Take over a folder that holds `adapter.gguf` (and `rows.jsonl`, `peft/`) as an adapter.

        Registering the same weights again returns the adapter that exists.

        Raises:
            AdapterError: The weights are not those of the manifest.
        """
        if sha256_of(source / "adapter.gguf") != manifest.adapter_sha256:
            raise AdapterError(f"{source / 'adapter.gguf'} is not the file of its manifest")
        target = self.root / manifest.id
        if not target.exists():
            staged = Path(tempfile.mkdtemp(prefix=_UNREGISTERED, dir=self.root))
            shutil.copytree(source, staged, dirs_exist_ok=True)
            (staged / "manifest.json").write_text(json.dumps(asdict(manifest), indent=1))
            _fsync_tree(staged)
            staged.rename(target)
            _fsync(self.root)
        with self._database() as database:
            database.execute(
                "INSERT OR IGNORE INTO adapter VALUES (?, ?, ?)",
                (manifest.id, manifest.created or time.time(), manifest.base_sha256),
            )
        return self.get(manifest.id)

    def ids(self) -> Sequence[str]:
        """Return the ids of the registered adapters, oldest first."""
        with self._database() as database:
            rows = database.execute("SELECT id FROM adapter ORDER BY created, id").fetchall()
        return [row[0] for row in rows]

    def get(self, prefix: str) -> Adapter:
        """Return the adapter whose id is or starts with `prefix`, after checking its files.

        Raises:
            AdapterError: No or several adapters match, or a file was changed after registration.
        """
        matches = [known for known in self.ids() if known.startswith(prefix)] if prefix else []
        if len(matches) != 1:
            listing = ", ".join(self.ids()) or "none; make one with `agentevo distill run`"
            reason = "matches several adapters" if matches else "is not a registered adapter"
            raise AdapterError(f"{prefix!r} {reason}; registered: {listing}")
        folder, manifest = self.root / matches[0], self._manifest(matches[0])
        try:
            intact = sha256_of(folder / "adapter.gguf") == manifest.adapter_sha256
        except OSError as error:
            raise AdapterError(
                f"adapter {matches[0]} is damaged: {error}; distil it again"
            ) from error
        if not intact or manifest.id != matches[0]:
            raise AdapterError(
                f"adapter {matches[0]} was changed after registration (hash mismatch) and is not "
                "loaded; distil it again or restore its folder from a backup"
            )
        return Adapter(manifest, folder)

    def activate(self, adapter_id: str | None, reason: str) -> Activation:
        """Point at an adapter (None: the bare base); the file is verified first."""
        verified = None if adapter_id is None else self.get(adapter_id).id
        with self._database() as database:
            cursor = database.execute(
                "INSERT INTO activation(adapter, time, reason) VALUES (?, ?, ?)",
                (verified, time.time(), reason),
            )
            sequence = cursor.lastrowid or 0
        return next(entry for entry in self.history() if entry.seq == sequence)

    def history(self) -> Sequence[Activation]:
        """Return every activation, oldest first."""
        with self._database() as database:
            rows = database.execute(
                "SELECT seq, adapter, time, reason FROM activation ORDER BY seq"
            )
            return [Activation(*row) for row in rows]

    @property
    def active_id(self) -> str | None:
        """The id that the pointer names, None for the bare base."""
        history = self.history()
        return history[-1].adapter_id if history else None

    def rollback(self) -> Activation:
        """Point at what was active before the present adapter.

        Raises:
            AdapterError: Nothing was ever activated.
        """
        history = self.history()
        if not history:
            raise AdapterError("nothing to roll back: no adapter was ever activated")
        present = history[-1].adapter_id
        earlier = [entry.adapter_id for entry in history if entry.adapter_id != present]
        return self.activate(earlier[-1] if earlier else None, f"rollback of {present}")

    def collect_garbage(self, keep: int = 5) -> Sequence[str]:
        """Delete adapters that are neither active, nor parents, nor among the newest `keep`.

        Leftovers of interrupted registrations older than an hour are deleted as well.
        """
        known = self.ids()
        kept = set(known[len(known) - keep :]) | {self.active_id}
        for identifier in tuple(kept):
            if identifier is not None:
                kept.update(self.get(identifier).manifest.parents)
        removed = [identifier for identifier in known if identifier not in kept]
        with self._database() as database:
            database.executemany("DELETE FROM adapter WHERE id = ?", [(name,) for name in removed])
        for identifier in removed:
            shutil.rmtree(self.root / identifier, ignore_errors=True)
        for leftover in self.root.glob(f"{_UNREGISTERED}*"):
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_AGE_S:
                shutil.rmtree(leftover, ignore_errors=True)
        return removed

    def holding(self, record_ids: Collection[str]) -> Mapping[str, tuple[str, ...]]:
        """Return the adapters whose rows descend from some of the records, with those records."""
        asked = set(record_ids)
        found = {
            name: tuple(sorted(asked.intersection(self._manifest(name).record_ids)))
            for name in self.ids()
        }
        return {name: held for name, held in found.items() if held}

    def _manifest(self, identifier: str) -> Manifest:
        """Return what was written down of a registered adapter; its files are not checked."""
        try:
            value = json.loads((self.root / identifier / "manifest.json").read_text())
            for name in ("rule_ids", "record_ids", "parents"):
                value[name] = tuple(value[name])
            return Manifest(**value)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AdapterError(
                f"adapter {identifier} is damaged: {error}; distil it again"
            ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _fsync(path)
    _fsync(folder)
