"""Restoring a namespace to what it was at an earlier position, as one new operation.

Nothing is removed from the journal: records go back to the values that they had, later ones become
dormant, and a later position can be restored in the same way.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentevo_memory.errors import RecordError
from agentevo_memory.history import fold
from agentevo_memory.journal import Journal, Selection
from agentevo_memory.operations.feedback import learned_weights, weights_name
from agentevo_memory.record import Record
from agentevo_memory.retrieval import Weights
from agentevo_memory.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration changed.

    Attributes:
        restored: Records that have their earlier values again.
        withdrawn: Records that did not exist yet; they are dormant now.
        seq: Sequence number of the last event now.
        head: Hash of the chain there, in hex.
    """

    restored: tuple[str, ...]
    withdrawn: tuple[str, ...]
    seq: int
    head: str


def restore(
    folder: Path, seq: int, head: str, namespace: tuple[str, ...], weights: Weights | None = None
) -> Restored:
    """Make a namespace hold what it held at a position; doing it again changes nothing.

    Erased records stay erased.

    Args:
        folder: The store.
        seq: Sequence number of the last event that counts; 0 is the empty store.
        head: Hash of the chain there, in hex; "" for the empty store.
        namespace: The part that is restored; no other is touched.
        weights: The search weights that were learnt by then; None leaves those of now.

    Raises:
        RecordError: The store never was at that position.
    """
    with closing(Journal(folder)) as journal:
        _check_position(journal, seq, head)
        past = {r.id: r for r in fold(e for e in journal.events() if e.seq <= seq)}
        present = [
            r for r in journal.records(Selection(namespace=namespace)) if r.status != "erased"
        ]
        changes = dict(_changes(present, past))
        tuned = weights is not None and weights != learned_weights(journal, namespace)
        if changes or tuned:
            with journal.transaction("restore") as tx:
                tx.note({"restored": seq})
                for record in present:
                    if record.id in changes:
                        _change(tx, record, changes[record.id], seq)
                if weights is not None:
                    tx.set_meta(weights_name(namespace), json.dumps(asdict(weights)))
        last = journal.query("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1")
    withdrawn = tuple(name for name in changes if name not in past)
    restored = tuple(name for name in changes if name in past)
    now = (int(last[0][0]), bytes(last[0][1]).hex()) if last else (0, "")
    return Restored(restored, withdrawn, *now)


def _check_position(journal: Journal, seq: int, head: str) -> None:
    found = journal.query("SELECT hash FROM event WHERE seq=?", (seq,))
    if seq and (not found or bytes(found[0][0]).hex() != head):
        raise RecordError(
            f"the memory in {str(journal.folder)!r} never was at event {seq} with the hash "
            f"{head[:12]!r}; it is another memory, or an older copy of it"
        )


def _changes(
    present: list[Record], past: Mapping[str, Record]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what has to change in each record that is not as it was."""
    for record in present:
        if record.id not in past:
            if record.status != "dormant":
                yield record.id, {"status": "dormant"}
            continue
        before, now = past[record.id].to_dict(), record.to_dict()
        moved = [name for name in now if name != "revision" and now[name] != before[name]]
        if moved:
            yield record.id, {name: getattr(past[record.id], name) for name in moved}


def _change(tx: Transaction, record: Record, changes: Mapping[str, Any], seq: int) -> None:
    kept = {"updated_at": record.updated_at, **changes}
    changed = tx.change(record, f"restored to event {seq}", **kept)
    if changed.indexed_text != record.indexed_text:
        tx.drop_vectors(record_id=record.id)
