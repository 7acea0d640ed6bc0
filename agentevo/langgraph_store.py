"""`AgentevoStore`: LangGraph's `BaseStore` over the journal of an agentevo memory.

Items are facts whose `key` is the store's key and whose `data` is the value, so that every command of
`agentevo memory` sees them. Writes are durable before they return; `created_at` survives updates.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    get_text_at_path,
    tokenize_path,
)

from agentevo_memory import Draft, Provenance, VectorMemory
from agentevo_memory.journal import Selection
from agentevo_memory.operations.put import Entry
from agentevo_memory.record import Record

_MINUTE_S = 60.0
_LIVE: tuple[Literal["active"], ...] = ("active",)


@dataclass(frozen=True, slots=True)
class _Found:
    record: Record
    score: float | None


class AgentevoStore(BaseStore):
    """A LangGraph store that is a view of a `VectorMemory`.

    Args:
        memory: The memory; it stays open when the store is dropped.
        index: `fields` gives the paths that are embedded by default (all of the value if missing);
            `dims` and `embed` are the memory's business and ignored.
        ttl: Defaults for expiry, as LangGraph defines them.
    """

    supports_ttl = True

    def __init__(
        self,
        memory: VectorMemory,
        *,
        index: IndexConfig | Mapping[str, Any] | None = None,
        ttl: TTLConfig | None = None,
    ) -> None:
        self.memory = memory
        self.ttl_config = ttl
        self._fields = list((index or {}).get("fields") or ["$"])

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations: all reads see the state before the batch, puts are one transaction."""
        operations = list(ops)
        results: list[Result] = [
            None if isinstance(op, PutOp) else self._read(op) for op in operations
        ]
        puts = {(op.namespace, op.key): op for op in operations if isinstance(op, PutOp)}
        if puts:
            self._write(list(puts.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Like `batch`, beside the event loop."""
        return await asyncio.to_thread(self.batch, list(ops))

    def sweep_ttl(self) -> int:
        """Delete expired items and return how many there were."""
        now = self.memory.journal.clock()
        expired = [
            record
            for record in self.memory.records(Selection(kinds=("fact",), statuses=_LIVE))
            if record.key and record.expires_at is not None and record.expires_at <= now
        ]
        self.memory.remove([(record.namespace, record.key) for record in expired])
        return len(expired)

    def _read(self, op: Op) -> Result:
        if isinstance(op, GetOp):
            return self._get(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        if isinstance(op, ListNamespacesOp):
            return self._namespaces(op)
        raise TypeError(f"unknown store operation {type(op).__name__}")

    def _get(self, op: GetOp) -> Item | None:
        records = self._items(op.namespace, below=False, key=op.key)
        if not records:
            return None
        self._refresh(records, op.refresh_ttl)
        return _item(records[-1])

    def _search(self, op: SearchOp) -> list[SearchItem]:
        records = self._items(op.namespace_prefix, below=True)
        matching = [
            record for record in records if _matches(record.data.get("value", {}), op.filter)
        ]
        if op.query:
            scores = self.memory.rank(op.query, matching)
            found = [_Found(record, scores.get(record.id)) for record in matching]
            found.sort(key=lambda each: -(each.score if each.score is not None else -2.0))
        else:
            found = [_Found(record, None) for record in matching]
        page = found[op.offset : op.offset + op.limit]
        self._refresh([each.record for each in page], op.refresh_ttl)
        return [_search_item(each) for each in page]

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        spaces = {record.namespace for record in self._items((), below=True)}
        kept = {
            space[: op.max_depth] if op.max_depth is not None else space
            for space in spaces
            if all(_fits(space, condition) for condition in op.match_conditions or ())
        }
        return sorted(kept)[op.offset : op.offset + op.limit]

    def _items(self, namespace: tuple[str, ...], *, below: bool, key: str = "") -> list[Record]:
        selection = Selection(
            namespace=namespace, below=below, key=key, kinds=("fact",), statuses=_LIVE
        )
        now = self.memory.journal.clock()
        return [
            record
            for record in self.memory.records(selection)
            if "value" in record.data and (record.expires_at is None or now < record.expires_at)
        ]

    def _refresh(self, records: Sequence[Record], wanted: bool) -> None:
        timed = [record.id for record in records if record.ttl_s is not None]
        if wanted and timed:
            self.memory.touch(timed)

    def _write(self, puts: Sequence[PutOp]) -> None:
        entries = [self._entry(op) for op in puts if op.value is not None]
        gone = [(op.namespace, op.key) for op in puts if op.value is None]
        self.memory.put(entries, remove=gone)

    def _entry(self, op: PutOp) -> Entry:
        value = cast("dict[str, Any]", op.value)
        text = json.dumps(value, ensure_ascii=False)
        draft = Draft(
            text=text,
            namespace=op.namespace,
            kind="fact",
            key=op.key,
            data={"value": json.loads(text)},
            ttl_s=None if op.ttl is None else op.ttl * _MINUTE_S,
            provenance=Provenance(origin="user", source="langgraph"),
        )
        return Entry(draft, self._texts(op, value))

    def _texts(self, op: PutOp, value: dict[str, Any]) -> tuple[str, ...]:
        if op.index is False:
            return ()
        paths = self._fields if op.index is None else op.index
        texts: list[str] = []
        for path in paths:
            texts += get_text_at_path(value, tokenize_path(path))
        return tuple(text for text in texts if text.strip())


def _item(record: Record) -> Item:
    return Item(
        value=json.loads(json.dumps(record.data["value"])),
        key=record.key,
        namespace=record.namespace,
        created_at=_date(record.created_at),
        updated_at=_date(record.updated_at),
    )


def _search_item(found: _Found) -> SearchItem:
    record = found.record
    return SearchItem(
        namespace=record.namespace,
        key=record.key,
        value=json.loads(json.dumps(record.data["value"])),
        created_at=_date(record.created_at),
        updated_at=_date(record.updated_at),
        score=found.score,
    )


def _date(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, tz=UTC)


def _matches(value: Any, wanted: Mapping[str, Any] | None) -> bool:
    return all(_compare(value.get(name), given) for name, given in (wanted or {}).items())


def _compare(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if any(name.startswith("$") for name in wanted):
            return all(_apply(found, name, operand) for name, operand in wanted.items())
        return isinstance(found, dict) and all(
            _compare(found.get(name), operand) for name, operand in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(_compare(a, b) for a, b in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _apply(found: Any, operator: str, operand: Any) -> bool:
    if operator == "$eq":
        return bool(found == operand)
    if operator == "$ne":
        return bool(found != operand)
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        raise ValueError(
            f"Unsupported operator: {operator}; allowed: $eq, $ne, $gt, $gte, $lt, $lte"
        )
    try:
        left, right = float(found), float(operand)
    except (TypeError, ValueError):
        return False
    return {
        "$gt": left > right,
        "$gte": left >= right,
        "$lt": left < right,
        "$lte": left <= right,
    }[operator]


def _fits(space: tuple[str, ...], condition: MatchCondition) -> bool:
    path = condition.path
    if len(space) < len(path):
        return False
    part = space[: len(path)] if condition.match_type == "prefix" else space[-len(path) :]
    return not path or all(want in ("*", have) for want, have in zip(path, part, strict=True))
