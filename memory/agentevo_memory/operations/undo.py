"""undo: take back one operation, as a new operation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentevo_memory.errors import RecordError, UnknownRecordError
from agentevo_memory.journal import Journal
from agentevo_memory.record import Record
from agentevo_memory.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Undone:
    """What was taken back.

    Attributes:
        restored: Records that are as they were before.
        withdrawn: Records that the operation had added; they are dormant now.
        operation: Number of the undoing operation, which can be undone itself.
    """

    restored: tuple[str, ...]
    withdrawn: tuple[str, ...]
    operation: int


_KEPT = frozenset({"revision", "updated_at"})


def undo(journal: Journal, tx: Transaction, operation: int) -> Undone:
    """Take back an operation inside a running transaction."""
    events = journal.events(operation=operation)
    if not events:
        raise UnknownRecordError(
            f"no operation {operation!r}; `agentevo memory diff` lists the latest ones"
        )
    if events[0].op == "erase":
        raise RecordError(f"operation {operation} is an erasure; nothing is left to restore")
    restored: list[str] = []
    withdrawn: list[str] = []
    for event in reversed(events):
        payload = json.loads(event.payload) if event.payload else {}
        if not event.record_id or "set" not in payload:
            continue
        record = journal.get(event.record_id)
        if record.status == "erased":
            continue
        reason = f"undo of operation {operation}"
        if payload["was"] is None:
            tx.change(record, reason, status="dormant")
            withdrawn.append(record.id)
        else:
            before = _before(record, payload)
            tx.change(record, reason, **before)
            restored.append(record.id)
    return Undone(tuple(restored), tuple(withdrawn), tx.operation)


def _before(record: Record, payload: Mapping[str, Any]) -> dict[str, Any]:
    present = record.to_dict()
    changed = [name for name in payload["was"] if name not in _KEPT]
    later = [
        name for name in changed if json.dumps(present[name]) != json.dumps(payload["set"][name])
    ]
    if later:
        raise RecordError(
            f"record {record.id!r} was changed again since ({', '.join(later)}); "
            "undo the later operations first"
        )
    merged = Record.from_dict({**present, **{name: payload["was"][name] for name in changed}})
    return {name: getattr(merged, name) for name in changed}
