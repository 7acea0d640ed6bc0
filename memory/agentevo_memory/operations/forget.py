"""forget: let go of what no longer helps, by a policy that says why.

Policies make records dormant (kept, listed, restorable, never recalled) or superseded (its validity is
closed). Pinned records and the last support of an active rule stay. To remove a text for good, `erase`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from agentevo_memory.acceptance import check_choice
from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal, Selection
from agentevo_memory.record import KINDS, Kind, Record
from agentevo_memory.retention import retention_of, utility
from agentevo_memory.transaction import Transaction

PolicyName = Literal[
    "decay", "ttl", "fifo", "lru", "utility", "capacity", "contradiction", "drift", "ids"
]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to forget.

    Attributes:
        name: `decay` forgets what retained less than `below`; `ttl` what has outlived its time to
            live; `fifo` the oldest, `lru` the longest unused and `capacity` the least valuable
            (retention times utility) beyond `keep`; `utility` what did more harm than good, with a
            utility under `below`; `contradiction` the weaker of two records that contradict each
            other; `drift` what was learnt in `environment` or `scope` before `before`; `ids` the
            given records.
        kinds: Only these; empty for all.
        keep: How many records may stay, per namespace.
        below: Threshold in [0, 1].
        environment, scope: Only records of these; "" for all.
        before: Seconds since the epoch, for `drift`.
        ids: Records, for `ids`.
    """

    name: PolicyName
    kinds: tuple[Kind, ...] = ()
    keep: int = 1000
    below: float = 0.1
    environment: str = ""
    scope: str = ""
    before: float = math.inf
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("policy", self.name, POLICIES)
        for kind in self.kinds:
            check_choice("kind", kind, KINDS)
        if self.keep < 0:
            raise RecordError(f"keep must not be negative, got {self.keep!r}")
        if not 0 <= self.below <= 1:
            raise RecordError(f"below must be in [0, 1], got {self.below!r}")


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What a policy did, or would do.

    Attributes:
        forgotten: Pairs of record id and reason.
        spared: Ids that matched but are pinned or the last support of an active rule.
        operation: Number for `undo`; 0 for a dry run or if nothing was forgotten.
    """

    forgotten: tuple[tuple[str, str], ...]
    spared: tuple[str, ...]
    operation: int = 0


Chosen = Sequence[tuple[Record, str]]


def forget(
    journal: Journal, tx: Transaction | None, policy: Policy, namespace: tuple[str, ...]
) -> Forgetting:
    """Carry out a policy, or with `tx` None say what it would do."""
    now = journal.clock() if tx is None else tx.now
    live = _live(journal, policy, namespace)
    spaces: dict[tuple[str, ...], list[Record]] = {}
    for record in live:
        spaces.setdefault(record.namespace, []).append(record)
    chosen = [
        pair for group in spaces.values() for pair in _CHOOSE[policy.name](policy, group, now)
    ]
    if policy.name == "contradiction":
        chosen = _contradicted(journal, live)
    going = {record.id for record, _ in chosen}
    forgotten, spared = [], []
    for record, reason in chosen:
        if record.pinned or _is_last_support(journal, record, going):
            spared.append(record.id)
            continue
        forgotten.append((record.id, reason))
        if tx is not None:
            _let_go(tx, record, policy, reason)
    done = tx.operation if tx is not None and forgotten else 0
    return Forgetting(tuple(forgotten), tuple(spared), done)


def _live(journal: Journal, policy: Policy, namespace: tuple[str, ...]) -> list[Record]:
    if policy.name == "ids":
        return [journal.get(record_id) for record_id in policy.ids]
    selection = Selection(
        namespace=namespace, kinds=policy.kinds, statuses=("active", "candidate", "distilled")
    )
    return [record for record in journal.records(selection) if _concerns(policy, record)]


def _let_go(tx: Transaction, record: Record, policy: Policy, reason: str) -> None:
    if policy.name == "contradiction":
        tx.change(record, reason, status="superseded", valid_to=tx.now)
    else:
        tx.change(record, reason, status="dormant")


def _concerns(policy: Policy, record: Record) -> bool:
    return policy.environment in ("", record.environment) and policy.scope in ("", record.scope)


def _is_last_support(journal: Journal, record: Record, going: set[str]) -> bool:
    for child_id, _, _ in journal.edges(rel="derived_from", dst=record.id):
        child = journal.get(child_id)
        if child.kind != "rule" or child.status != "active" or child.verified_by:
            continue
        others = [
            parent
            for parent in child.provenance.parents
            if parent not in going and journal.get(parent).status in ("active", "candidate")
        ]
        if child_id not in going and not others:
            return True
    return False


def _decay(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    kept = [(record, retention_of(record, now)) for record in group]
    return [(record, f"retention {left:.3f}") for record, left in kept if left < policy.below]


def _ttl(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    del policy
    return [
        (record, "time to live is over")
        for record in group
        if record.expires_at is not None and record.expires_at <= now
    ]


def _beyond(value: Callable[[Record, float], float], reason: str) -> "_Chooser":
    def choose(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
        ordered = sorted(group, key=lambda record: (record.pinned, value(record, now)))
        return [(record, reason) for record in ordered[: max(0, len(group) - policy.keep)]]

    return choose


def _useless(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    del now
    return [
        (record, f"utility {utility(record):.2f} after {record.uses} uses")
        for record in group
        if record.harmed > record.helped and utility(record) < policy.below
    ]


def _drift(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    del now
    if not policy.environment and not policy.scope:
        raise RecordError("the policy 'drift' needs an environment or a scope that has changed")
    before = policy.before
    return [(record, "its world has changed") for record in group if record.created_at < before]


def _given(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    del policy, now
    return [(record, "asked for") for record in group if record.status != "dormant"]


def _nothing(policy: Policy, group: Sequence[Record], now: float) -> Chosen:
    del policy, group, now
    return []


def _contradicted(journal: Journal, live: Sequence[Record]) -> list[tuple[Record, str]]:
    by_id = {record.id: record for record in live}
    chosen: dict[str, tuple[Record, str]] = {}
    for src, _, dst in journal.edges(rel="contradicts"):
        newer, older = by_id.get(src), by_id.get(dst)
        if newer is None or older is None or src in chosen or dst in chosen:
            continue
        weaker, other = (newer, older) if _standing(newer) < _standing(older) else (older, newer)
        chosen[weaker.id] = (weaker, f"contradicted by {other.id}")
    return list(chosen.values())


def _standing(record: Record) -> tuple[float, float, float]:
    return (record.trust, utility(record), record.created_at)


_Chooser = Callable[[Policy, Sequence[Record], float], Chosen]

_CHOOSE: dict[PolicyName, _Chooser] = {
    "decay": _decay,
    "ttl": _ttl,
    "fifo": _beyond(lambda record, now: record.created_at, "oldest beyond the limit"),
    "lru": _beyond(
        lambda record, now: max(record.last_used, record.created_at), "unused for longest"
    ),
    "capacity": _beyond(
        lambda record, now: retention_of(record, now) * utility(record), "least valuable"
    ),
    "utility": _useless,
    "contradiction": _nothing,
    "drift": _drift,
    "ids": _given,
}
