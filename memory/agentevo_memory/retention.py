"""Forgetting curves: how much of a record is left after a time; pure functions.

R = exp(-t / (tau * S)), Ebbinghaus with the strength S in the denominator: a stronger record fades
more slowly (MemoryBank's published code has it the other way round).
"""

import math
from collections.abc import Mapping

from agentevo_memory.record import Kind, Record

DAY_S = 86_400.0

TAU_S: Mapping[Kind, float] = {
    "experience": 7 * DAY_S,
    "summary": 14 * DAY_S,
    "fact": 30 * DAY_S,
    "rule": 30 * DAY_S,
    "skill": 60 * DAY_S,
}
"""Time in which a record of strength 1 falls to 1/e, by kind."""

STRENGTH_MIN = 0.25
STRENGTH_MAX = 1_000.0
GAIN = 1.0
REPETITION = 0.25


def retention(age_s: float, strength: float, tau_s: float) -> float:
    """Return what is left after `age_s` seconds, in [0, 1].

    It never rises with age and never falls with strength. A clock that went backwards counts as no
    time at all.
    """
    exponent = -max(0.0, age_s) / (tau_s * max(strength, STRENGTH_MIN))
    return math.exp(exponent)


def retention_of(record: Record, now_s: float) -> float:
    """Return the retention of `record` at `now_s`; 1 for a pinned one."""
    if record.pinned:
        return 1.0
    since = max(record.last_used, record.created_at)
    return retention(now_s - since, record.strength, TAU_S[record.kind])


def strengthened(record: Record, now_s: float) -> float:
    """Return the strength after `record` helped: the more was forgotten, the more is gained."""
    gained = record.strength * (1 + GAIN * (1 - retention_of(record, now_s)))
    return min(STRENGTH_MAX, gained)


def reinforced(record: Record, now_s: float) -> float:
    """Return the strength after the same content was inserted again."""
    return min(STRENGTH_MAX, strengthened(record, now_s) + REPETITION)


def weakened(record: Record) -> float:
    """Return the strength after `record` did harm."""
    return max(STRENGTH_MIN, record.strength / 2)


def utility(record: Record) -> float:
    """Return the expected help of `record` in (0, 1): the posterior mean under a uniform prior."""
    return (record.helped + 1) / (record.helped + record.harmed + 2)
