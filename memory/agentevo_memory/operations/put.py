"""put: keep exactly one record per namespace and key, as a key-value store does.

No comparison with other records, no quarantine: what was put is what is got. The texts to embed are
given apart from the record; each has a vector of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal, Selection
from agentevo_memory.operations.insert import as_record
from agentevo_memory.record import ORIGIN_TRUST, Draft, Record
from agentevo_memory.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Entry:
    """A record under a key, and the texts by which it is found.

    Attributes:
        draft: The record; its `key` is not empty.
        texts: What is embedded; empty for a record that only its key finds.
    """

    draft: Draft
    texts: tuple[str, ...]


SlotVectors = Mapping[tuple[int, str], bytes]


def put(journal: Journal, tx: Transaction, entry: Entry, vectors: SlotVectors) -> Record:
    """Store one entry inside a running transaction, replacing the one under the same key."""
    draft = entry.draft
    if not draft.key:
        raise RecordError("an entry needs a key")
    old = current(journal, draft.namespace, draft.key)
    if old is None:
        trust = ORIGIN_TRUST[draft.provenance.origin]
        record = as_record(draft, trust, "active", tx.now)
        tx.add(record, vectors)
        return record
    values = {entry.name: getattr(draft, entry.name) for entry in fields(Draft)}
    record = tx.change(old, "put again", **values, status="active", last_used=0.0)
    tx.drop_vectors(record_id=old.id)
    tx.set_vectors(old.id, vectors)
    return record


def remove(journal: Journal, tx: Transaction, keys: Sequence[tuple[tuple[str, ...], str]]) -> None:
    """Supersede the records under keys by nothing; unknown keys are ignored."""
    for namespace, key in keys:
        old = current(journal, namespace, key)
        if old is not None:
            tx.change(old, "removed", status="superseded", valid_to=tx.now)


def current(journal: Journal, namespace: tuple[str, ...], key: str) -> Record | None:
    """Return the live record under a key, or None."""
    found = journal.records(
        Selection(namespace=namespace, key=key, kinds=("fact",), statuses=("active",), newest=True)
    )
    return found[0] if found else None
