"""How candidates become a ranking: convex fusion of channels, collapse, quotas, budget; pure functions.

Dense and lexical scores are brought to [0, 1] within the pool and mixed by fixed or learned weights
(reciprocal-rank fusion loses up to 11 points of recall against it). Recency never ranks; retention
breaks ties only.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.language import cjk_share, negations_in, numbers_in, text_keys
from agentevo_memory.pool import Pool
from agentevo_memory.record import RECALLABLE, Kind, Record, Status

Scores = NDArray[np.float32]
CJK_SHARE = 0.3
FLAT = 1e-9
LEARNING_STEP = 0.02
DEFAULT_PULL = 0.005


@dataclass(frozen=True, slots=True)
class Weights:
    """The share of each channel in a score.

    Attributes:
        dense: Cosine of query and record.
        lexical: BM25.
        entity: The record concerns a name that the query mentions.
        context: What a record gains from its better neighbour in the same session.
        question: What a record loses that only asks.
        retention: Ebbinghaus retention; a tie-break, at most .02.
    """

    dense: float = 0.6
    lexical: float = 0.4
    entity: float = 0.15
    context: float = 0.6
    question: float = 0.1
    retention: float = 0.01


LEXICAL_ONLY = Weights(dense=0.0, lexical=1.0)
"""For scripts that the embedder was not trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for.

    Attributes:
        text: The question; its words and its meaning are both used.
        namespace: Where to look; nothing outside is read.
        kinds: Which kinds; empty for all.
        environment, scope: Only records of this environment or scope; None for all, "" for those
            that belong to none.
        k: At most so many hits.
        budget_tokens: At most so many tokens of text together, or None.
        quotas: At most so many hits of a kind.
        floor: Least evidence (cosine, or share of the query's words) of a hit; below it the
            memory abstains.
        collapse: Leave out hits that only repeat a better one in other inflections.
        statuses: Which statuses; the default is what may be recalled.
        valid_at: The time the statements must hold at, or None for now.
        known_at: What the memory knew at this time, or None for now.
    """

    text: str
    namespace: tuple[str, ...] = ("default",)
    kinds: tuple[Kind, ...] = ()
    environment: str | None = None
    scope: str | None = None
    k: int = 10
    budget_tokens: int | None = None
    quotas: Mapping[Kind, int] = field(default_factory=dict)
    floor: float = 0.15
    collapse: bool = True
    statuses: frozenset[Status] = RECALLABLE
    valid_at: float | None = None
    known_at: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One found record.

    Attributes:
        record: The record.
        score: Larger is better; comparable within one search only.
        evidence: Cosine or share of the query's words, whichever is larger; absolute, in [0, 1].
        explain: What each channel contributed to the score.
    """

    record: Record
    score: float
    evidence: float
    explain: Mapping[str, float]


def weights_for(text: str, languages: frozenset[str], learned: Weights) -> Weights:
    """Return the weights for a query: lexical only for a script the embedder does not know."""
    if "cjk" not in languages and cjk_share(text) > CJK_SHARE:
        return LEXICAL_ONLY
    return learned


def fuse(pool: Pool, weights: Weights) -> dict[str, Scores]:
    """Return the contribution of each channel to each candidate's score."""
    dense = _or(pool.dense, -1.0)
    return {
        "dense": weights.dense * spread(dense + weights.context * pool.near_dense),
        "lexical": weights.lexical * spread(pool.lexical + weights.context * pool.near_lexical),
        "entity": weights.entity * pool.entity,
        "question": -weights.question * pool.question,
    }


def evidence(pool: Pool) -> Scores:
    """Return the absolute evidence for each candidate, in [0, 1]."""
    reached = np.maximum(_or(pool.dense, 0.0), pool.coverage)
    return np.asarray(np.minimum(np.maximum(reached, 0), 1), dtype=np.float32)


def _or(values: Scores, default: float) -> Scores:
    """Return `values` with `default` in place of NaN."""
    return np.where(np.isnan(values), np.float32(default), values)


def spread(values: Scores) -> Scores:
    """Return `values` stretched to [0, 1]; constant values become 1, or 0 if not positive."""
    if not len(values):
        return values
    low, high = values.min(), values.max()
    if high - low < FLAT:
        return np.where(values > 0, np.float32(1), np.float32(0))
    return np.asarray((values - low) / (high - low), dtype=np.float32)


def learn(weights: Weights, explain: Mapping[str, float], helped: bool) -> Weights:
    """Return the weights after a hit helped or harmed: a small step, and a pull to the default.

    The channels that made the hit rank high gain when it helped and lose when it did harm: dense
    against lexical, which add up to 1; what a matching name adds; what a mere question costs. Every
    weight stays in its bounds.
    """
    sign, default = 1 if helped else -1, Weights()
    moved = {
        name: _moved(getattr(weights, name), getattr(default, name), sign * share, bounds)
        for name, share, bounds in (
            ("dense", _lean(weights, explain), (0.1, 0.9)),
            ("entity", explain.get("entity", 0.0) / max(weights.entity, FLAT), (0.0, 0.4)),
            ("question", explain.get("question", 0.0) / max(weights.question, FLAT), (0.0, 0.3)),
        )
        if share
    }
    if "dense" in moved:
        moved["lexical"] = 1 - moved["dense"]
    return replace(weights, **moved)


def _lean(weights: Weights, explain: Mapping[str, float]) -> float:
    """Return how much more than usual the meaning, rather than the words, found a hit."""
    total = explain.get("dense", 0.0) + explain.get("lexical", 0.0)
    return explain.get("dense", 0.0) / total - weights.dense if total > 0 else 0.0


def _moved(value: float, default: float, push: float, bounds: tuple[float, float]) -> float:
    stepped = value + LEARNING_STEP * push + DEFAULT_PULL * (default - value)
    return min(bounds[1], max(bounds[0], stepped))


def choose(hits: Iterable[Hit], query: Query) -> list[Hit]:
    """Return the hits to show: above the floor, without repetitions, within quotas and budget."""
    chosen: list[Hit] = []
    shown = _Shown()
    left = dict(query.quotas)
    tokens = math.inf if query.budget_tokens is None else query.budget_tokens
    for hit in hits:
        if hit.evidence < query.floor or left.get(hit.record.kind, 1) <= 0:
            continue
        cost = 0 if query.budget_tokens is None else count_tokens(hit.record.text)
        if cost > tokens or (query.collapse and shown.repeats(hit.record)):
            continue
        chosen.append(hit)
        tokens -= cost
        if hit.record.kind in left:
            left[hit.record.kind] -= 1
        if len(chosen) == query.k:
            break
    return chosen


class _Shown:
    """The texts chosen so far; compared in full only where their words begin alike."""

    def __init__(self) -> None:
        self._alike: dict[frozenset[str], list[Record]] = {}

    def repeats(self, record: Record) -> bool:
        """Take in a record; return whether an earlier one says the same in other inflections."""
        words = record.indexed_text.casefold().split()
        others = self._alike.setdefault(frozenset([word[:3] for word in words]), [])
        repeated = bool(others) and any(_marks(other) == _marks(record) for other in others)
        others.append(record)
        return repeated


def count_tokens(text: str) -> int:
    """Return an estimate of the tokens in `text`, on the high side for English."""
    wide = sum(character > "⺀" for character in text)
    return wide + -(-(len(text) - wide) // 3)


def _marks(record: Record) -> tuple[bytes, tuple[str, ...], int]:
    text = record.indexed_text
    return text_keys(record)[1], numbers_in(text), negations_in(text)
