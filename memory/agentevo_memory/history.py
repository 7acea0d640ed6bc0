"""Looking back: what the memory knew at a time, how a record came to be, and what an operation did.

Everything here folds the events of the journal; nothing is written.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agentevo_memory.chain import Event, Verification
from agentevo_memory.errors import UnknownRecordError
from agentevo_memory.journal import Journal
from agentevo_memory.record import Record
from agentevo_memory.transaction import dump


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one record.

    Attributes:
        seq, time, operation, op, actor, run_id: As in the event.
        record_id: The record.
        reason: Why, or "".
        was, now: The fields that changed, before and after; `was` is None for a new record, both
            are None after an erasure.
    """

    seq: int
    time: float
    operation: int
    op: str
    actor: str
    run_id: str
    record_id: str
    reason: str
    was: Mapping[str, Any] | None
    now: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A record and what it was derived from.

    Attributes:
        record: The record.
        relation: How the node above uses it, or "".
        parents: Its own sources.
    """

    record: Record
    relation: str
    parents: tuple["Lineage", ...]


def changes(journal: Journal, *, record_id: str = "", operation: int = 0) -> list[Change]:
    """Return the changes of a record or of an operation, in order.

    Raises:
        UnknownRecordError: If there is no such record or operation.
    """
    events = journal.events(record_id, operation=operation)
    if not events:
        raise UnknownRecordError(
            f"no record {record_id!r}" if record_id else f"no operation {operation}"
        )
    return [_change(event) for event in events if event.record_id]


def records_at(journal: Journal, until: float) -> list[Record]:
    """Return every record as the memory knew it at time `until`, in order of creation."""
    return fold(event for event in journal.events() if event.time <= until)


def verify(journal: Journal) -> Verification:
    """Compare every event with the hash chain, and every record with what its events add up to.

    Raises:
        JournalDamagedError: If the file cannot be read further.
    """
    found = journal.verify()
    if not found.intact:
        return found
    expected = {record.id: record for record in fold(journal.events())}
    for record_id, status, doc in journal.query("SELECT id, status, CAST(doc AS BLOB) FROM record"):
        if status != "erased" and not _is(expected.pop(record_id, None), doc):
            return _unlike(journal, found, record_id)
    return _unlike(journal, found, next(iter(expected))) if expected else found


def _is(record: Record | None, doc: bytes) -> bool:
    try:
        return record is not None and json.loads(doc) == json.loads(dump(record.to_dict()))
    except ValueError:
        return False


def _unlike(journal: Journal, found: Verification, record_id: str) -> Verification:
    last = max((event.seq for event in journal.events(record_id)), default=0)
    problem = f"record {record_id!r} is not what its events up to {last} say"
    return replace(found, damaged_seq=last, problem=problem)


def fold(events: Iterable[Event]) -> list[Record]:
    """Return the records that a sequence of events adds up to; erased ones are left out."""
    state: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.payload is None:
            state.pop(event.record_id, None)
            continue
        payload = json.loads(event.payload)
        if event.record_id and "set" in payload:
            if payload["was"] is None:
                state[event.record_id] = dict(payload["set"])
            elif event.record_id in state:
                state[event.record_id].update(payload["set"])
    return [Record.from_dict(values) for values in state.values() if values["status"] != "erased"]


def lineage(journal: Journal, record_id: str, *, depth: int = 20) -> Lineage:
    """Return the provenance tree of a record.

    Raises:
        UnknownRecordError: If there is no such record.
    """
    return _lineage(journal, record_id, "", depth, frozenset())


def _lineage(
    journal: Journal, record_id: str, relation: str, depth: int, above: frozenset[str]
) -> Lineage:
    record = journal.get(record_id)
    parents: tuple[Lineage, ...] = ()
    if depth > 0 and record_id not in above:
        below = above | {record_id}
        parents = tuple(
            _lineage(journal, dst, rel, depth - 1, below)
            for _, rel, dst in journal.edges(record_id)
            if rel in ("derived_from", "supersedes", "contradicts") and not dst.startswith("run:")
        )
    return Lineage(record, relation, parents)


def _change(event: Event) -> Change:
    payload = json.loads(event.payload) if event.payload else {}
    now = payload.get("set")
    if "edge" in payload:
        now = {payload["edge"][1]: payload["edge"][2]}
    return Change(
        event.seq,
        event.time,
        event.operation,
        event.op,
        event.actor,
        event.run_id,
        event.record_id,
        payload.get("reason", ""),
        payload.get("was"),
        now,
    )
