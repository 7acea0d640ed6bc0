"""The life of records after they were inserted: outcomes, reflection, forgetting, revocation, undo.

The base of `VectorMemory`. Nothing here embeds or searches by itself.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentevo_memory.chain import Verification
from agentevo_memory.errors import RecordError
from agentevo_memory.history import verify
from agentevo_memory.journal import Journal, Selection
from agentevo_memory.operations.erase import Receipt, erase, finish_scrubbing
from agentevo_memory.operations.feedback import Feedback, credit, learned_weights, mark_recalled
from agentevo_memory.operations.forget import Forgetting, Policy, forget
from agentevo_memory.operations.put import remove
from agentevo_memory.operations.revoke import Revocation, Taint, revoke
from agentevo_memory.operations.search import Explained
from agentevo_memory.operations.undo import Undone, undo
from agentevo_memory.record import Provenance, Record, Status
from agentevo_memory.retrieval import Weights
from agentevo_memory.transaction import Transaction


class Upkeep:
    """Everything that changes records which are there already."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._explained = Explained()
        self._lock = threading.RLock()
        if not journal.read_only:
            finish_scrubbing(journal)

    def get(self, record_id: str) -> Record:
        """Return one record.

        Raises:
            UnknownRecordError: If there is none of this id.
        """
        return self.journal.get(record_id)

    def records(self, selection: Selection | None = None) -> list[Record]:
        """Return the selected records, oldest first."""
        return self.journal.records(selection)

    def verify(self) -> Verification:
        """Compare every event with the hash chain, and every record with its events."""
        return verify(self.journal)

    def weights(self, namespace: tuple[str, ...]) -> Weights:
        """Return the weights that searches in a namespace use: the default, or learned ones."""
        return learned_weights(self.journal, namespace)

    def mark_recalled(self, ids: Sequence[str], *, run_id: str) -> None:
        """Note that records stood in the prompts of a run.

        Text that repeats them is not taken in again from this run.
        """
        with self._writing("recall", Provenance(run_id=run_id)) as tx:
            mark_recalled(self.journal, tx, ids, run_id)

    def feedback(self, given: Feedback) -> bool:
        """Credit or blame the records that stood in a prompt, once per idempotency key.

        What helped gets stronger, what did harm weaker; the weights of the namespace move a little
        towards the channels that had found what helped.

        Returns:
            Whether this was new.
        """
        with self._writing("feedback", Provenance(run_id=given.run_id)) as tx:
            return credit(self.journal, tx, given, self._explained)

    def promote(self, record_id: str, *, verifier: str, evidence: str = "") -> Record:
        """Make a candidate active because it was verified.

        Args:
            record_id: A candidate or a quarantined record.
            verifier: Who verified it: a replay, a gate, a person.
            evidence: What was seen.

        Raises:
            RecordError: If no verifier is named, or the record is in another status.
        """
        if not verifier.strip():
            raise RecordError("verifier is empty; name the check or the person that verified it")
        with self._writing("promote", Provenance(actor=verifier)) as tx:
            record = self.journal.get(record_id)
            if record.status not in ("candidate", "quarantined", "active"):
                raise RecordError(
                    f"record {record_id!r} is {record.status}; only candidate and quarantined "
                    "records can be promoted"
                )
            reason = f"verified by {verifier}: {evidence}"
            return tx.change(record, reason, status="active", verified_by=verifier)

    def set_status(self, ids: Sequence[str], status: Status, *, reason: str) -> int:
        """Move records to another status, such as distilled, dormant or back to active.

        Returns:
            The operation, for `undo`.
        """
        if status == "erased":
            raise RecordError("status 'erased' is set by `erase` only")
        with self._writing("status", Provenance()) as tx:
            for record_id in ids:
                tx.change(self.journal.get(record_id), reason, status=status)
            return tx.operation

    def pin(self, record_id: str, *, pinned: bool = True) -> Record:
        """Keep a record from every forgetting policy, or let it go again."""
        with self._writing("pin", Provenance()) as tx:
            return tx.change(self.journal.get(record_id), "pin", pinned=pinned)

    def touch(self, ids: Sequence[str]) -> None:
        """Note that records were used now; it starts their time to live again."""
        with self._writing("touch", Provenance()) as tx:
            for record_id in ids:
                record = self.journal.get(record_id)
                tx.change(record, "used", last_used=tx.now, updated_at=record.updated_at)

    def remove(self, keys: Sequence[tuple[tuple[str, ...], str]]) -> None:
        """Supersede by nothing what `put` keeps under these namespaces and keys."""
        with self._writing("put", Provenance()) as tx:
            remove(self.journal, tx, keys)

    def forget(
        self, policy: Policy, *, namespace: tuple[str, ...] = (), dry_run: bool = False
    ) -> Forgetting:
        """Let records go dormant or be superseded by a policy; `undo` brings them back.

        Args:
            policy: What to forget; see `operations.forget`.
            namespace: Only here; empty for all.
            dry_run: Only say what would happen.
        """
        if dry_run:
            return forget(self.journal, None, policy, namespace)
        with self._writing("forget", Provenance()) as tx:
            return forget(self.journal, tx, policy, namespace)

    def erase(self, ids: Sequence[str], *, actor: str = "", dry_run: bool = False) -> Receipt:
        """Remove records and everything derived from them for good: no byte of the text remains.

        Args:
            ids: The records.
            actor: Who asks for it; kept in the receipt.
            dry_run: Only say what would be erased.
        """
        with self._lock:
            if dry_run:
                return erase(self.journal, ids, actor=actor, dry_run=True)
            self._drop_caches()
            try:
                return erase(self.journal, ids, actor=actor, dry_run=False)
            finally:
                self._drop_caches()

    def revoke(self, taint: Taint, *, dry_run: bool = False) -> Revocation:
        """Quarantine everything that comes from a source: the exact transitive closure."""
        if dry_run:
            return revoke(self.journal, None, taint)
        with self._writing("revoke", Provenance()) as tx:
            return revoke(self.journal, tx, taint)

    def undo(self, operation: int) -> Undone:
        """Take back one operation; not an erasure.

        Raises:
            UnknownRecordError: If there is no such operation.
            RecordError: If it was an erasure, or later changes stand in the way.
        """
        with self._writing("undo", Provenance()) as tx:
            return undo(self.journal, tx, operation)

    @contextmanager
    def _writing(self, op: str, provenance: Provenance) -> Iterator[Transaction]:
        with (
            self._lock,
            self.journal.transaction(op, actor=provenance.actor, run_id=provenance.run_id) as tx,
        ):
            yield tx

    def _drop_caches(self) -> None:
        """Remove index files that were made from erased content."""
