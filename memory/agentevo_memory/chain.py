"""The hash chain over the events: what was written cannot be changed, dropped or reordered unseen.

An event's payload enters the chain as a salted digest, so that erasing a text keeps the chain whole
and leaves nothing from which the text could be guessed.
"""

import contextlib
import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from agentevo_memory.errors import JournalDamagedError

GENESIS = b"\0" * 32


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one record, as the journal keeps it.

    Attributes:
        seq: Position in the journal, from 1.
        time: Seconds since the epoch; never falls.
        operation: `seq` of the first event of the same transaction.
        op: Name of the operation.
        record_id: The record, or "" for events of the store.
        actor, run_id: Who did it, and in which run.
        payload: JSON text, or None after an erasure.
    """

    seq: int
    time: float
    operation: int
    op: str
    record_id: str
    actor: str
    run_id: str
    payload: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the journal found.

    Attributes:
        events: Number of events read.
        erased: Number of events whose payload was erased.
        damaged_seq: First event that is not what was written, or 0.
        problem: What is wrong there, or "".
    """

    events: int
    erased: int
    damaged_seq: int = 0
    problem: str = ""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem


def new_nonce() -> bytes:
    """Return the salt of one payload."""
    return secrets.token_bytes(16)


def digest_of(payload: str, nonce: bytes) -> bytes:
    """Return what stands for a payload in the chain."""
    return hashlib.blake2b(payload.encode(), key=nonce, digest_size=32).digest()


def link_hash(previous: bytes, event: Event, digest: bytes) -> bytes:
    """Return the hash of `event` behind the event whose hash is `previous`."""
    head = json.dumps(
        [
            event.seq,
            event.time,
            event.operation,
            event.op,
            event.record_id,
            event.actor,
            event.run_id,
        ]
    )
    return hashlib.blake2b(previous + digest + head.encode(), digest_size=32).digest()


def verify_chain(db: sqlite3.Connection) -> Verification:
    """Read every event and compare it with the chain; the first difference ends the search."""
    last, count, erased = GENESIS, 0, 0
    for event, link, problem in _walk(db):
        count += 1
        erased += event.payload is None
        if problem:
            return Verification(count, erased, count, problem)
        last = link
    row = db.execute("SELECT value FROM meta WHERE name='head'").fetchone()
    if (row[0] if row else GENESIS) != last:
        return Verification(count, erased, count + 1, f"events after {count} are missing")
    return Verification(count, erased)


def intact_events(db: sqlite3.Connection) -> Iterator[Event]:
    """Yield the events before the first that is damaged or cannot be read."""
    with contextlib.suppress(JournalDamagedError):
        for event, _, problem in _walk(db):
            if problem:
                return
            yield event


def _walk(db: sqlite3.Connection) -> Iterator[tuple[Event, bytes, str]]:
    """Yield every event with its hash and what is wrong with it, or ""."""
    previous, scrubbed = GENESIS, _scrubbed_records(db)
    for count, (event, nonce, digest, link) in enumerate(read_events(db), 1):
        problem = ""
        if event.seq != count:
            problem = f"event {count} is missing; the next one is {event.seq}"
        elif event.payload is None:
            if event.record_id not in scrubbed:
                problem = f"the payload of event {count} is gone without an erasure"
        elif digest_of(event.payload, nonce or b"") != digest:
            problem = f"the payload of event {count} was changed"
        if not problem and link_hash(previous, event, digest) != link:
            problem = f"event {count} was changed or does not follow event {count - 1}"
        yield event, link, problem
        previous = link


def read_events(
    db: sqlite3.Connection,
) -> Iterator[tuple[Event, bytes | None, bytes, bytes]]:
    """Yield every event with its nonce, payload digest and hash, in order.

    Raises:
        JournalDamagedError: Where the database cannot be read further.
    """
    seq = 0
    cursor = db.execute(
        "SELECT seq, time, operation, op, record_id, actor, run_id, payload, nonce, digest, hash"
        " FROM event NOT INDEXED ORDER BY seq"
    )
    while True:
        try:
            row = cursor.fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise JournalDamagedError(
                f"the journal cannot be read behind event {seq} ({error}); "
                "`agentevo memory export --salvage` saves the part before it",
                seq + 1,
            ) from error
        if row is None:
            return
        seq = row[0]
        yield Event(*row[:8]), row[8], row[9], row[10]


def _scrubbed_records(db: sqlite3.Connection) -> set[str]:
    try:
        rows = db.execute("SELECT record_id FROM event WHERE op='erase'").fetchall()
    except sqlite3.DatabaseError:
        rows = db.execute("SELECT id FROM record WHERE status='erased'").fetchall()
    return {row[0] for row in rows}
