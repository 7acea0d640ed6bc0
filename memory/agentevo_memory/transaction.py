"""One operation on the journal while it runs: events appended, records and edges changed."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentevo_memory.chain import Event, digest_of, link_hash, new_nonce
from agentevo_memory.errors import RecordError
from agentevo_memory.language import text_keys
from agentevo_memory.record import Record

_SEPARATOR = "\x1f"
_UPSERT = (
    "INSERT INTO record(rid, id, namespace, kind, status, key, environment, scope, session, sequence, run_id, text_key,"
    " frame_key, gist, entities, valid_from, valid_to, expires_at, doc)"
    " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO UPDATE SET"
    " namespace=excluded.namespace, kind=excluded.kind, status=excluded.status, key=excluded.key,"
    " environment=excluded.environment, scope=excluded.scope, session=excluded.session, sequence=excluded.sequence, run_id=excluded.run_id,"
    " text_key=excluded.text_key, frame_key=excluded.frame_key, gist=excluded.gist,"
    " entities=excluded.entities, valid_from=excluded.valid_from, valid_to=excluded.valid_to,"
    " expires_at=excluded.expires_at, doc=excluded.doc"
)


def pack_namespace(namespace: tuple[str, ...]) -> str:
    """Return the column value of a namespace."""
    return _SEPARATOR.join(namespace)


def unpack_namespace(packed: str) -> tuple[str, ...]:
    """Return the namespace of a column value."""
    return tuple(packed.split(_SEPARATOR))


class Transaction:
    """The writing half of the journal; made by `Journal.transaction` only.

    Attributes:
        operation: Number of this operation: the sequence number of its first event.
        now: Its time, never before that of an earlier event.
        seq: Sequence number of the last event written.
    """

    def __init__(self, db: sqlite3.Connection, seq: int, link: bytes, now: float) -> None:
        self._db = db
        self._link = link
        self._op = ("", "", "")
        self.seq = seq
        self.operation = seq + 1
        self.now = now

    def begin(self, op: str, actor: str, run_id: str) -> None:
        """Set what every event of this operation carries."""
        self._op = (op, actor, run_id)

    def finish(self) -> None:
        """Anchor the end of the chain; called once, before the commit."""
        self._db.execute(
            "INSERT INTO meta VALUES('head', ?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            (self._link,),
        )

    def add(self, record: Record, vectors: Mapping[tuple[int, str], bytes]) -> None:
        """Store a new record with its vectors, given by slot and model id."""
        doc = dump(record.to_dict())
        self._append(record.id, f'{{"set": {doc}, "was": null}}')
        self._store(record, doc)
        self.set_vectors(record.id, vectors)
        for parent in record.provenance.parents:
            self._edge(record.id, "derived_from", parent)

    def change(self, record: Record, reason: str, **changes: Any) -> Record:
        """Change fields of a record and return it as it is now."""
        changes["revision"] = record.revision + 1
        changes.setdefault("updated_at", self.now)
        changed = replace(record, **changes)
        before, after = record.to_dict(), changed.to_dict()
        moved = [name for name in after if before[name] != after[name]]
        payload = {
            "set": {name: after[name] for name in moved},
            "was": {name: before[name] for name in moved},
            "reason": reason,
        }
        self._append(record.id, dump(payload))
        self._store(changed, dump(after))
        return changed

    def link(self, src: str, rel: str, dst: str) -> None:
        """Connect two records (or a record and a run) by a named relation."""
        self._append(src, dump({"edge": [src, rel, dst]}))
        self._edge(src, rel, dst)

    def touch(self, record_id: str) -> None:
        """Tell every follower to read a record again, of which only the vectors changed."""
        self._append(record_id, "{}")

    def note(self, payload: Mapping[str, Any]) -> None:
        """Write an event that concerns no single record."""
        self._append("", dump(payload))

    def remember(self, key: bytes, result: object) -> None:
        """Keep the result of this operation under an idempotency key."""
        self._db.execute(
            "INSERT INTO idempotency VALUES(?,?,?)", (key, self.operation, dump(result))
        )

    def set_vectors(self, record_id: str, vectors: Mapping[tuple[int, str], bytes]) -> None:
        """Store vectors of a record, given by slot and model id."""
        self._db.executemany(
            "INSERT OR REPLACE INTO vector SELECT rid, ?, ?, ? FROM record WHERE id=?",
            [(slot, model, data, record_id) for (slot, model), data in vectors.items()],
        )

    def drop_vectors(self, *, record_id: str = "", slot: int = -1, model: str = "") -> None:
        """Delete vectors of one record, one slot or one model; what is not given matches all."""
        self._db.execute(
            "DELETE FROM vector WHERE (?='' OR rid=(SELECT rid FROM record WHERE id=?))"
            " AND (?<0 OR slot=?) AND (?='' OR model=?)",
            (record_id, record_id, slot, slot, model, model),
        )

    def set_meta(self, name: str, value: object) -> None:
        """Set one value of the store."""
        self._db.execute(
            "INSERT INTO meta VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            (name, value),
        )

    def scrub(self, record: Record, tombstone: Record) -> int:
        """Remove every byte of a record's content, leaving `tombstone`; returns scrubbed events."""
        cursor = self._db.execute(
            "UPDATE event SET payload=NULL, nonce=NULL WHERE record_id=? AND payload IS NOT NULL",
            (record.id,),
        )
        self.drop_vectors(record_id=record.id)
        self._append(record.id, dump({"set": tombstone.to_dict(), "was": None}))
        self._store(tombstone, dump(tombstone.to_dict()))
        return cursor.rowcount

    def _append(self, record_id: str, payload: str) -> None:
        nonce = new_nonce()
        digest = digest_of(payload, nonce)
        event = Event(
            self.seq + 1, self.now, self.operation, self._op[0], record_id, *self._op[1:], payload
        )
        self._link = link_hash(self._link, event, digest)
        self.seq = event.seq
        self._db.execute(
            "INSERT INTO event VALUES(?,?,?,?,?,?,?,?,?,?,?)",
            (
                event.seq,
                event.time,
                event.operation,
                event.op,
                record_id,
                event.actor,
                event.run_id,
                payload,
                nonce,
                digest,
                self._link,
            ),
        )

    def _store(self, record: Record, doc: str) -> None:
        text_key, frame_key = text_keys(record) if record.text else (None, None)
        self._db.execute(
            _UPSERT,
            (
                None,
                record.id,
                pack_namespace(record.namespace),
                record.kind,
                record.status,
                record.key,
                record.environment,
                record.scope,
                record.session,
                record.sequence,
                record.provenance.run_id,
                text_key,
                frame_key,
                record.indexed_text,
                dump(record.entities),
                record.valid_from,
                record.valid_to,
                record.expires_at,
                doc,
            ),
        )

    def _edge(self, src: str, rel: str, dst: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO edge VALUES(?,?,?,?)", (src, rel, dst, self.seq))


def dump(value: object) -> str:
    """Return `value` as JSON text.

    Raises:
        RecordError: If it is no JSON value.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise RecordError(f"`data` must hold JSON values only: {error}") from error
    return text
