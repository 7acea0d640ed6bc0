"""erase: remove a text so that no file of the store holds a byte of it, and keep a receipt.

The records, and everything derived from them, become tombstones; their events lose the payload but
stay in the hash chain; freed pages are overwritten and the write-ahead log is emptied.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal
from agentevo_memory.record import Provenance, Record


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of an erasure.

    Attributes:
        ids: The records asked for.
        derived: Further records that were derived from them and went with them.
        events: Number of events whose payload was removed.
        operation: Number of the operation.
        complete: Whether the files were cleaned. False while another process keeps an old view
            open: the next opening of the store completes it.
    """

    ids: tuple[str, ...]
    derived: tuple[str, ...]
    events: int
    operation: int
    complete: bool


def erase(journal: Journal, ids: Sequence[str], *, actor: str, dry_run: bool) -> Receipt:
    """Erase records; see `VectorMemory.erase`."""
    asked = tuple(dict.fromkeys(journal.get(record_id).id for record_id in ids))
    if not asked:
        raise RecordError("no records given to erase")
    everything = closure(journal, asked)
    derived = tuple(in_order(journal, everything - set(asked)))
    if dry_run:
        return Receipt(asked, derived, 0, 0, False)
    events = 0
    with journal.transaction("erase", actor=actor) as tx:
        for record_id in (*asked, *derived):
            record = journal.get(record_id)
            if record.status != "erased":
                events += tx.scrub(record, tombstone(record, tx.now))
        tx.set_meta("scrub", 1)
        operation = tx.operation
    return Receipt(asked, derived, events, operation, finish_scrubbing(journal))


def finish_scrubbing(journal: Journal) -> bool:
    """Clean the files if an erasure asked for it and it was not possible then."""
    if not journal.query("SELECT 1 FROM meta WHERE name='scrub' AND value=1"):
        return True
    if not journal.scrub_files():
        return False
    with journal.transaction("scrub") as tx:
        tx.set_meta("scrub", 0)
    return True


def closure(journal: Journal, ids: Sequence[str]) -> set[str]:
    """Return `ids` and every record derived from them, at any distance."""
    found, todo = set(ids), list(ids)
    while todo:
        for child, _, _ in journal.edges(rel="derived_from", dst=todo.pop()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def in_order(journal: Journal, ids: Iterable[str]) -> list[str]:
    """Return ids in the order in which the records came into the memory."""
    rows = journal.query(
        "SELECT id FROM record WHERE id IN (SELECT value FROM json_each(?)) ORDER BY rid",
        (json.dumps(list(ids)),),
    )
    return [row[0] for row in rows]


def tombstone(record: Record, now_s: float) -> Record:
    """Return what remains of an erased record: its id, place, kind and times."""
    return Record(
        id=record.id,
        text="",
        namespace=record.namespace,
        kind=record.kind,
        status="erased",
        provenance=Provenance(origin=record.provenance.origin),
        created_at=record.created_at,
        updated_at=now_s,
        revision=record.revision + 1,
    )
