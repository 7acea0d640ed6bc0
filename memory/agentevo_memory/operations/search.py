"""search: the records that matter for a query, and why each of them.

The names in a query are matched with the records' entities and taken out of the text that is embedded:
names shared by many records would drown the meaning.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from agentevo_memory.acceptance import check_choice, check_namespace, check_text
from agentevo_memory.embedding.base import Embedder, embed_checked
from agentevo_memory.errors import RecordError
from agentevo_memory.follower import View
from agentevo_memory.pool import Pool, Probe
from agentevo_memory.record import KINDS, RECALLABLE, STATUSES, Record
from agentevo_memory.retention import retention_of
from agentevo_memory.retrieval import Hit, Query, Weights, choose, evidence, fuse, weights_for
from agentevo_memory.transaction import pack_namespace

_SPARE = 2
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a query.

    Attributes:
        hits: Best first; empty if the memory abstains.
        note: Why there are no hits, or "".
        seq: The journal position that the answer is based on.
    """

    hits: tuple[Hit, ...]
    note: str = ""
    seq: int = 0

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the records found."""
        return tuple(hit.record.id for hit in self.hits)


class Explained:
    """What each channel gave to the latest hits, kept so that feedback can adjust the weights."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Mapping[str, float]] = OrderedDict()

    def keep(self, result: SearchResult) -> None:
        """Remember the hits of one search."""
        for hit in result.hits:
            self._of[hit.record.id] = hit.explain
            self._of.move_to_end(hit.record.id)
        while len(self._of) > _REMEMBERED:
            self._of.popitem(last=False)

    def of(self, record_id: str) -> Mapping[str, float]:
        """Return the latest contributions for a record, or nothing."""
        return self._of.get(record_id, {})


def check_query(query: Query) -> None:
    """Raise RecordError at the first part of `query` that cannot be searched for."""
    check_namespace(query.namespace)
    for kind in (*query.kinds, *query.quotas):
        check_choice("kind", kind, KINDS)
    for status in query.statuses:
        check_choice("status", status, STATUSES)
    if not check_text("query", query.text).strip():
        raise RecordError("the query is empty; list records instead of searching for nothing")
    if query.k < 1:
        raise RecordError(f"k must be at least 1, got {query.k!r}")
    if query.budget_tokens is not None and query.budget_tokens < 0:
        raise RecordError(f"budget_tokens must not be negative, got {query.budget_tokens!r}")


def search(
    query: Query, view: View, embedder: Embedder, learned: Weights, *, now: float
) -> tuple[Hit, ...]:
    """Return the hits for a checked query."""
    corpus = view.corpus
    namespace = pack_namespace(query.namespace)
    names = corpus.names_in(namespace, query.text)
    text = without(query.text, names)
    weights = weights_for(text, embedder.languages, learned)
    vector = None
    if weights.dense > 0:
        vector = embed_checked(embedder, [text])[0]
    pool = corpus.pool(
        Probe(
            namespace=namespace,
            text=text,
            vector=vector,
            names=names,
            kinds=query.kinds,
            environment=query.environment,
            scope=query.scope,
            at=now if query.valid_at is None else query.valid_at,
            limit=query.k,
        )
    )
    if pool is None:
        return ()
    return tuple(choose(_ranked(query, view, pool, weights, now), query))


def _ranked(query: Query, view: View, pool: Pool, weights: Weights, now: float) -> Iterator[Hit]:
    parts = fuse(pool, weights)
    columns = [*parts.values(), pool.dense, evidence(pool)]
    order = np.argsort(-sum(parts.values()), kind="stable")
    for start in range(0, len(order), query.k + _SPARE):
        batch = order[start : start + query.k + _SPARE]
        rids = pool.rids[batch].tolist()
        records, hits = view.records(rids), []
        rows = zip(*(column[batch].tolist() for column in columns), strict=True)
        for rid, (*values, cosine, evident) in zip(rids, rows, strict=True):
            record = records.get(rid)
            if record is None or record.status not in query.statuses:
                continue
            explain = dict(zip(parts, values, strict=True))
            explain["retention"] = weights.retention * retention_of(record, now)
            score = sum(explain.values())
            explain["cosine"] = 0.0 if math.isnan(cosine) else cosine
            hits.append(Hit(record, score, evident, explain))
        yield from sorted(hits, key=lambda hit: -hit.score)


def without(text: str, names: frozenset[str]) -> str:
    """Return `text` without the given names, or unchanged if nothing else would be left."""
    if not names:
        return text
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    rest = re.sub(rf"\b(?:{pattern})(?:['\u2019]s)?\b", " ", text, flags=re.IGNORECASE)
    rest = " ".join(rest.split())
    return rest if re.search(r"\w", rest) else text


def is_default(query: Query) -> bool:
    """Return whether the corpus that is kept in step can answer `query`."""
    return query.statuses <= RECALLABLE and query.known_at is None


def describe(hit: Hit) -> dict[str, object]:
    """Return a hit as JSON values, for reports."""
    record: Record = hit.record
    return {
        "id": record.id,
        "kind": record.kind,
        "status": record.status,
        "text": record.text,
        "score": round(hit.score, 4),
        "evidence": round(hit.evidence, 4),
        "explain": {name: round(value, 4) for name, value in hit.explain.items()},
        "provenance": asdict(record.provenance),
    }
