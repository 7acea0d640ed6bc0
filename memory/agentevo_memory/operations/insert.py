"""insert: take a draft into the memory without repeating, corrupting or poisoning what is there.

A draft is compared with what the journal holds, in the same transaction that stores it. The same text
makes the old record stronger; texts that differ in a number, a negation, a name or the order of words
are never merged. Who wrote a text decides what it may become: text of tools and environments is data.
"""

from dataclasses import dataclass, fields
from typing import Literal

from agentevo_memory.errors import RecordError, UnknownRecordError
from agentevo_memory.journal import Journal, Selection, hash_key
from agentevo_memory.language import names_in, negations_in, numbers_in, text_keys, words_in_order
from agentevo_memory.operations.offer import Offer
from agentevo_memory.operations.screening import birth_status, lineage_trust, woken
from agentevo_memory.record import Draft, Record, Status, new_id
from agentevo_memory.retention import reinforced
from agentevo_memory.transaction import Transaction, pack_namespace

Action = Literal["added", "reinforced", "merged", "superseded", "quarantined"]
NEAR_COSINE = 0.95
_ECHO_WORDS = 4


@dataclass(frozen=True, slots=True)
class InsertResult:
    """What became of a draft.

    Attributes:
        action: What was done.
        id: The record that now stands for the draft.
        reason: Why, in one sentence.
        matched: Ids of the older records that decided it.
        operation: Number for `undo`; 0 if nothing was written.
    """

    action: Action
    id: str
    reason: str
    matched: tuple[str, ...] = ()
    operation: int = 0


def insert(journal: Journal, tx: Transaction, offer: Offer) -> InsertResult:
    """Carry out one insert inside a running transaction.

    Raises:
        UnknownRecordError: If a parent or a superseded record does not exist.
    """
    if offer.idempotency_key:
        earlier = journal.remembered(offer.idempotency_key)
        if earlier is not None:
            return InsertResult(
                earlier["action"], earlier["id"], "this key was carried out before", (), 0
            )
    result = _decide(journal, tx, offer)
    if offer.idempotency_key:
        tx.remember(hash_key(offer.idempotency_key), {"action": result.action, "id": result.id})
    return result


def _decide(journal: Journal, tx: Transaction, offer: Offer) -> InsertResult:
    draft = offer.draft
    parents = [_parent(journal, parent) for parent in draft.provenance.parents]
    replaced = [_parent(journal, old) for old in offer.supersedes]
    if not replaced:
        if (echoed := _echo(journal, draft)) is not None:
            return InsertResult(
                "merged", echoed, "repeats a record that was recalled into this run", (echoed,)
            )
        if (same := _same(journal, draft)) is not None:
            if draft.kind not in ("rule", "skill") or same.trust >= lineage_trust(draft, parents):
                return _reinforce(tx, same, draft)
            replaced.append(same)
    conflicts: list[Record] = []
    for old in _framed(journal, draft) if not replaced else []:
        if negations_in(old.text) != negations_in(draft.text):
            conflicts += [old] if numbers_in(old.text) == numbers_in(draft.text) else []
        elif not _differs(old, draft) and offer.cosine(old.id) >= NEAR_COSINE:
            return _merge(tx, old, draft)
    replaced += [old for old in _keyed(journal, draft) if old not in replaced]
    return _write(tx, offer, parents, replaced, conflicts)


def _write(
    tx: Transaction,
    offer: Offer,
    parents: list[Record],
    replaced: list[Record],
    conflicts: list[Record],
) -> InsertResult:
    draft = offer.draft
    trust = lineage_trust(draft, parents)
    status, reason = birth_status(draft, trust, parents, offer.verdict)
    stronger = [old for old in replaced if old.trust > trust and old.status == "active"]
    trusted = [old for old in conflicts if old.may_instruct and old.trust > trust]
    if status != "quarantined" and (stronger or (trusted and draft.kind == "rule")):
        status, reason = "quarantined", "contradicts a record of higher trust"
    verified = offer.verdict.verifier if offer.verdict and offer.verdict.passed else ""
    record = as_record(draft, trust, status, tx.now, verified)
    tx.add(record, offer.vectors)
    for old in conflicts:
        tx.link(record.id, "contradicts", old.id)
    if status == "quarantined":
        matched = tuple(old.id for old in (*replaced, *conflicts))
        return InsertResult("quarantined", record.id, reason, matched, tx.operation)
    for old in replaced:
        supersede(tx, old, record.id)
    if replaced:
        ids = tuple(old.id for old in replaced)
        return InsertResult("superseded", record.id, "replaces what it is about", ids, tx.operation)
    matched = tuple(old.id for old in conflicts)
    if conflicts:
        reason += "; denies an older record"
    return InsertResult("added", record.id, reason, matched, tx.operation)


def as_record(
    draft: Draft, trust: float, status: Status, now_s: float, verified_by: str = ""
) -> Record:
    """Return the record that a draft becomes."""
    values = {entry.name: getattr(draft, entry.name) for entry in fields(Draft)}
    return Record(
        **values,
        id=new_id(now_s),
        trust=trust,
        status=status,
        created_at=now_s,
        updated_at=now_s,
        verified_by=verified_by,
    )


def supersede(tx: Transaction, old: Record, new_id_: str) -> Record:
    """Close the validity of `old` in favour of a newer record."""
    tx.link(new_id_, "supersedes", old.id)
    return tx.change(old, f"superseded by {new_id_}", status="superseded", valid_to=tx.now)


def _parent(journal: Journal, record_id: str) -> Record:
    try:
        record = journal.get(record_id)
    except UnknownRecordError:
        raise UnknownRecordError(
            f"parent or superseded record {record_id!r} does not exist; insert it first"
        ) from None
    if record.status == "erased":
        raise RecordError(f"record {record_id!r} was erased and cannot be built upon")
    return record


def _echo(journal: Journal, draft: Draft) -> str | None:
    run_id = draft.provenance.run_id
    if not run_id or draft.kind == "experience":
        return None
    words = [word for word in words_in_order(draft.text) if word != "-"]
    if len(words) < _ECHO_WORDS:
        return None
    for src, _, _ in journal.edges(rel="used_in_run", dst=f"run:{run_id}"):
        recalled = journal.get(src)
        later = iter(words_in_order(recalled.text))
        contained = all(word in later for word in words)
        if contained and recalled.namespace == draft.namespace and not _differs(recalled, draft):
            return src
    return None


def _same(journal: Journal, draft: Draft) -> Record | None:
    if draft.kind == "experience":
        return None
    rows = journal.query(
        "SELECT id FROM record WHERE namespace=? AND kind=? AND text_key=? AND key=?"
        " AND environment=? AND scope=? AND status NOT IN ('erased', 'superseded')"
        " ORDER BY rid DESC LIMIT 1",
        (
            pack_namespace(draft.namespace),
            draft.kind,
            text_keys(draft)[0],
            draft.key,
            draft.environment,
            draft.scope,
        ),
    )
    return journal.get(rows[0][0]) if rows else None


def _framed(journal: Journal, draft: Draft) -> list[Record]:
    if draft.kind == "experience" or draft.body:
        return []
    rows = journal.query(
        "SELECT id FROM record WHERE namespace=? AND kind=? AND frame_key=?"
        " AND environment=? AND scope=? AND status IN ('active', 'candidate')"
        " ORDER BY rid DESC LIMIT 4",
        (
            pack_namespace(draft.namespace),
            draft.kind,
            text_keys(draft)[1],
            draft.environment,
            draft.scope,
        ),
    )
    return [journal.get(row[0]) for row in rows]


def _keyed(journal: Journal, draft: Draft) -> list[Record]:
    if not draft.key:
        return []
    selection = Selection(
        namespace=draft.namespace,
        kinds=(draft.kind,),
        key=draft.key,
        statuses=("active", "candidate", "dormant"),
    )
    return [
        old
        for old in journal.records(selection)
        if (old.environment, old.scope) == (draft.environment, draft.scope)
    ]


def _differs(old: Draft, new: Draft) -> bool:
    return (
        numbers_in(old.text) != numbers_in(new.text)
        or negations_in(old.text) != negations_in(new.text)
        or names_in(old.text) | set(old.entities) != names_in(new.text) | set(new.entities)
    )


def _reinforce(tx: Transaction, old: Record, draft: Draft) -> InsertResult:
    tx.change(
        old,
        "inserted again",
        strength=reinforced(old, tx.now),
        last_used=tx.now,
        status=woken(old) if old.status == "dormant" else old.status,
        tags=_union(old.tags, draft.tags),
    )
    tx.link(old.id, "said_by", _origin(draft))
    return InsertResult("reinforced", old.id, "the same text", (old.id,), tx.operation)


def _merge(tx: Transaction, old: Record, draft: Draft) -> InsertResult:
    tx.change(
        old,
        f"merged with another wording: {draft.text}",
        strength=reinforced(old, tx.now),
        last_used=tx.now,
        tags=_union(old.tags, draft.tags),
    )
    tx.link(old.id, "said_by", _origin(draft))
    return InsertResult("merged", old.id, "the same in other inflections", (old.id,), tx.operation)


def _origin(draft: Draft) -> str:
    return f"{draft.provenance.origin}:{draft.provenance.source}"


def _union(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))
