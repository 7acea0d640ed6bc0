"""feedback: what an episode's outcome says about the records that stood in its prompt.

Being recalled changes nothing; helping makes a record stronger and harming makes it weaker. Feedback
never verifies a rule: a poisoned rule would be credited for every success that it only watched.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal, hash_key
from agentevo_memory.operations.search import Explained
from agentevo_memory.retention import strengthened, weakened
from agentevo_memory.retrieval import Weights, learn
from agentevo_memory.transaction import Transaction, pack_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """How it went with some records in the prompt.

    Attributes:
        ids: The records.
        helped: Whether the task was solved.
        run_id: The run.
        idempotency_key: Taken into account once; "" for always.
    """

    ids: tuple[str, ...]
    helped: bool
    run_id: str = ""
    idempotency_key: str = ""


def mark_recalled(journal: Journal, tx: Transaction, ids: Sequence[str], run_id: str) -> None:
    """Connect records to the run in whose prompts they stood."""
    if not run_id:
        raise RecordError("run_id is empty; name the run that recalled the records")
    known = {src for src, _, _ in journal.edges(rel="used_in_run", dst=f"run:{run_id}")}
    for record_id in dict.fromkeys(ids):
        if record_id not in known:
            tx.link(journal.get(record_id).id, "used_in_run", f"run:{run_id}")


def credit(journal: Journal, tx: Transaction, given: Feedback, explained: Explained) -> bool:
    """Apply one feedback; returns whether it was new."""
    if given.idempotency_key:
        key = f"feedback:{given.idempotency_key}"
        if journal.remembered(key) is not None:
            return False
        tx.remember(hash_key(key), list(given.ids))
    for record_id in dict.fromkeys(given.ids):
        record = journal.get(record_id)
        if record.status == "erased":
            continue
        strength = strengthened(record, tx.now) if given.helped else weakened(record)
        tx.change(
            record,
            "helped" if given.helped else "harmed",
            uses=record.uses + 1,
            helped=record.helped + given.helped,
            harmed=record.harmed + (not given.helped),
            strength=strength,
            last_used=tx.now,
            updated_at=record.updated_at,
        )
        before = learned_weights(journal, record.namespace)
        after = learn(before, explained.of(record_id), given.helped)
        if after != before:
            value = json.dumps(asdict(after))
            tx.set_meta(weights_name(record.namespace), value)
    return True


def learned_weights(journal: Journal, namespace: tuple[str, ...]) -> Weights:
    """Return the weights that searches in a namespace use: the default, or learned ones."""
    rows = journal.query("SELECT value FROM meta WHERE name=?", (weights_name(namespace),))
    return Weights(**json.loads(rows[0][0])) if rows else Weights()


def weights_name(namespace: tuple[str, ...]) -> str:
    """Return the name under which the journal keeps the weights of a namespace."""
    return "weights:" + pack_namespace(namespace)
