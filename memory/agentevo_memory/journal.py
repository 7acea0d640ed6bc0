"""The journal: one SQLite file that is the only truth about what the memory holds.

Every operation is one transaction of hash-chained events; the table `record` is their sum. Any
number of processes may read and write: SQLite serialises the writers, and readers follow by
sequence number. What `commit` returned from survives a kill of the process.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agentevo_memory.acceptance import check_text
from agentevo_memory.chain import GENESIS, Event, Verification, intact_events, verify_chain
from agentevo_memory.disk import storage_errors
from agentevo_memory.errors import StoreReadOnlyError, UnknownRecordError
from agentevo_memory.record import Kind, Record, Status
from agentevo_memory.schema import check_version, migrate
from agentevo_memory.transaction import Transaction, pack_namespace, unpack_namespace

FILE_NAME = "journal.db"
BUSY_S = 5.0


class IndexRow(NamedTuple):
    """The part of a record that the indexes need; one row of the table `record`."""

    rid: int
    namespace: str
    kind: Kind
    status: Status
    environment: str
    scope: str
    gist: str
    entities: str
    valid_from: float | None
    valid_to: float | None
    expires_at: float | None
    session: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which records to list; empty means all.

    Attributes:
        namespace: Exactly this namespace, or every one below it with `below`.
        below: Take `namespace` as a prefix.
        kinds, statuses: Any of these.
        key: Exactly this key.
        run_id: Written in this run.
        limit: At most so many, oldest first, or newest first with `newest`.
    """

    namespace: tuple[str, ...] = ()
    below: bool = False
    kinds: tuple[Kind, ...] = ()
    statuses: tuple[Status, ...] = ()
    key: str = ""
    run_id: str = ""
    limit: int = -1
    newest: bool = False


class Journal:
    """The open journal of a store folder."""

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool = False,
        busy_s: float = BUSY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the journal in `folder`, creating it unless `read_only`.

        Raises:
            UnknownRecordError: If `read_only` and there is no journal.
            JournalDamagedError: If the file is not a readable database.
            SchemaVersionError: If a newer release wrote it.
            StoreReadOnlyError, StoreWriteError: If the folder cannot be written.
        """
        self.folder = folder
        self.path = folder / FILE_NAME
        self.read_only = read_only
        self.clock = clock
        self._lock = threading.RLock()
        with storage_errors(self.path):
            self._db = self._connect(busy_s)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _connect(self, busy_s: float) -> sqlite3.Connection:
        if not self.read_only:
            self.folder.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise UnknownRecordError(
                f"no memory in {str(self.folder)!r}; `agentevo memory insert` creates one"
            )
        mode = "mode=ro" if self.read_only else "mode=rwc"
        if self.read_only and not os.access(self.folder, os.W_OK):
            mode = "immutable=1"
        return sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=busy_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    def _prepare(self) -> None:
        if self.read_only:
            check_version(self._db.execute("PRAGMA user_version").fetchone()[0])
            return
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("PRAGMA cache_size=-65536")
        migrate(self._db)

    @contextmanager
    def transaction(self, op: str, *, actor: str = "", run_id: str = "") -> Iterator[Transaction]:
        """Run one operation; it takes effect as a whole when the block ends without an error.

        Raises:
            StoreBusyError: If another process holds the store for longer than the waiting time.
            StoreReadOnlyError: If the store cannot be written.
            StoreWriteError: If the disk refuses; nothing of the operation remains.
        """
        with self._lock, storage_errors(self.path):
            if self.read_only:
                raise StoreReadOnlyError(f"{str(self.path)!r} was opened for reading only")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                head = self._db.execute(
                    "SELECT seq, time FROM event ORDER BY seq DESC LIMIT 1"
                ).fetchone() or (0, 0.0)
                link = self._db.execute("SELECT value FROM meta WHERE name='head'").fetchone()
                now = max(self.clock(), head[1])
                tx = Transaction(self._db, head[0], link[0] if link else GENESIS, now)
                tx.begin(op, actor, run_id)
                yield tx
                tx.finish()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a SELECT."""
        with self._lock, storage_errors(self.path):
            return self._db.execute(sql, parameters).fetchall()

    def head(self) -> int:
        """Return the sequence number of the last event; 0 for an empty journal."""
        return int(self.query("SELECT coalesce(max(seq), 0) FROM event")[0][0])

    def get(self, record_id: str) -> Record:
        """Return one record.

        Raises:
            UnknownRecordError: If there is none of this id.
        """
        rows = self.query("SELECT doc FROM record WHERE id=?", (record_id,))
        if not rows:
            raise UnknownRecordError(
                f"no record {record_id!r} in {str(self.path)!r}; `agentevo memory list` shows all"
            )
        return Record.restore(json.loads(rows[0][0]))

    def by_rids(self, rids: Sequence[int]) -> dict[int, Record]:
        """Return the records behind row numbers."""
        marks = ",".join("?" * len(rids))
        rows = self.query(f"SELECT rid, doc FROM record WHERE rid IN ({marks})", rids)
        docs = json.loads(f"[{','.join(doc for _, doc in rows)}]")
        return {rid: Record.restore(doc) for (rid, _), doc in zip(rows, docs, strict=True)}

    def records(self, selection: Selection | None = None) -> list[Record]:
        """Return the selected records."""
        where, parameters = _where(selection or Selection())
        order = "DESC" if selection and selection.newest else "ASC"
        limit = selection.limit if selection else -1
        sql = f"SELECT doc FROM record WHERE {where} ORDER BY rid {order} LIMIT {int(limit)}"
        return [Record.restore(json.loads(doc)) for (doc,) in self.query(sql, parameters)]

    def index_rows(self, after: int = 0) -> list[IndexRow]:
        """Return the present state of every record that changed after sequence number `after`."""
        changed = "WHERE id IN (SELECT record_id FROM event WHERE seq>?)" if after else ""
        sql = f"SELECT {', '.join(IndexRow._fields)} FROM record {changed} ORDER BY rid"
        return [IndexRow(*row) for row in self.query(sql, (after,) if after else ())]

    def events(self, record_id: str = "", *, after: int = 0, operation: int = 0) -> list[Event]:
        """Return events in order: all, or those of one record or one operation."""
        rows = self.query(
            "SELECT seq, time, operation, op, record_id, actor, run_id, payload FROM event"
            " WHERE seq>? AND (?='' OR record_id=?) AND (?=0 OR operation=?) ORDER BY seq",
            (after, record_id, record_id, operation, operation),
        )
        return [Event(*row) for row in rows]

    def edges(self, src: str = "", *, rel: str = "", dst: str = "") -> list[tuple[str, str, str]]:
        """Return the edges (source, relation, target) that match what is given."""
        wanted = [("src", src), ("rel", rel), ("dst", dst)]
        given = [(name, value) for name, value in wanted if value]
        where = " AND ".join(f"{name}=?" for name, _ in given) or "1"
        rows = self.query(
            f"SELECT src, rel, dst FROM edge WHERE {where} ORDER BY seq",
            [value for _, value in given],
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def namespaces(self) -> list[tuple[str, ...]]:
        """Return every namespace that holds a record."""
        rows = self.query("SELECT DISTINCT namespace FROM record WHERE status<>'erased'")
        return sorted(unpack_namespace(row[0]) for row in rows)

    def remembered(self, key: str) -> Any | None:
        """Return the result of the operation that ran under an idempotency key, or None."""
        rows = self.query("SELECT result FROM idempotency WHERE key=?", (hash_key(key),))
        return json.loads(rows[0][0]) if rows else None

    def verify(self) -> Verification:
        """Compare every event with the hash chain."""
        with self._lock, storage_errors(self.path):
            return verify_chain(self._db)

    def intact_events(self) -> list[Event]:
        """Return the events before the first that is damaged; all of an intact journal."""
        with self._lock, storage_errors(self.path):
            return list(intact_events(self._db))

    def scrub_files(self) -> bool:
        """Remove deleted content from the files; False if another process prevents it now."""
        with self._lock, storage_errors(self.path):
            try:
                busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                self._db.execute("VACUUM")
                busy |= self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (
                    sqlite3.SQLITE_BUSY,
                    sqlite3.SQLITE_LOCKED,
                ):
                    raise
                return False
            return not busy

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with self._lock:
            self._db.close()


def hash_key(key: str) -> bytes:
    """Return what is stored of an idempotency key."""
    return hashlib.blake2b(check_text("key", key).encode(), digest_size=20).digest()


def _where(selection: Selection) -> tuple[str, list[Any]]:
    terms, parameters = ["1"], []
    if selection.namespace:
        packed = pack_namespace(selection.namespace)
        if selection.below:
            terms.append("(namespace=? OR substr(namespace, 1, ?)=?)")
            parameters += [packed, len(packed) + 1, packed + "\x1f"]
        else:
            terms.append("namespace=?")
            parameters.append(packed)
    for column, values in (("kind", selection.kinds), ("status", selection.statuses)):
        if values:
            terms.append(f"{column} IN ({','.join('?' * len(values))})")
            parameters += values
    for column, value in (("key", selection.key), ("run_id", selection.run_id)):
        if value:
            terms.append(f"{column}=?")
            parameters.append(value)
    return " AND ".join(terms), parameters
