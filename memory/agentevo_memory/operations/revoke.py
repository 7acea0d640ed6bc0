"""revoke: take back everything that a source, a run or a record has brought into the memory.

Quarantines the exact transitive closure: the records themselves and all that was derived from them.
Adapters that were distilled from any of them are named, so that they can be rolled back.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from agentevo_memory.acceptance import check_choice
from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal
from agentevo_memory.operations.erase import closure, in_order
from agentevo_memory.record import ORIGIN_TRUST
from agentevo_memory.transaction import Transaction

TaintKind = Literal["origin", "run", "record"]


@dataclass(frozen=True, slots=True)
class Taint:
    """What is not to be trusted any more.

    Attributes:
        kind: What `value` names.
        value: An origin (`tool` or `tool:NAME`), a run id, or a record id.
    """

    kind: TaintKind
    value: str

    def __post_init__(self) -> None:
        check_choice("taint", self.kind, get_args(TaintKind))
        if not self.value:
            raise RecordError(f"no {self.kind} given to revoke")
        if self.kind == "origin":
            check_choice("origin", self.value.partition(":")[0], tuple(ORIGIN_TRUST))


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a revocation did, or would do.

    Attributes:
        quarantined: Records that changed, in order of creation.
        already: Records of the closure that were out of use before.
        adapters: Adapters whose weights hold any of them.
        operation: Number for `undo`; 0 for a dry run or if nothing changed.
    """

    quarantined: tuple[str, ...]
    already: tuple[str, ...]
    adapters: tuple[str, ...]
    operation: int = 0


def revoke(journal: Journal, tx: Transaction | None, taint: Taint) -> Revocation:
    """Carry out a revocation, or with `tx` None say what it would do."""
    quarantined, already = [], []
    adapters: set[str] = set()
    for record_id in in_order(journal, closure(journal, roots(journal, taint))):
        record = journal.get(record_id)
        adapters.update(record.distilled_in)
        if record.status in ("quarantined", "erased"):
            already.append(record_id)
            continue
        quarantined.append(record_id)
        if tx is not None:
            reason = f"revoked {taint.kind} {taint.value}"
            tx.change(record, reason, status="quarantined", verified_by="")
    operation = tx.operation if tx is not None and quarantined else 0
    return Revocation(tuple(quarantined), tuple(already), tuple(sorted(adapters)), operation)


def roots(journal: Journal, taint: Taint) -> list[str]:
    """Return the ids that a taint names directly."""
    if taint.kind == "record":
        return [journal.get(taint.value).id]
    if taint.kind == "run":
        rows = journal.query("SELECT id FROM record WHERE run_id=?", (taint.value,))
        return [row[0] for row in rows]
    origin, _, source = taint.value.partition(":")
    rows = journal.query(
        "SELECT id FROM record WHERE json_extract(doc, '$.provenance.origin')=?"
        " AND (?='' OR json_extract(doc, '$.provenance.source')=?)",
        (origin, source, source),
    )
    return [row[0] for row in rows]
