"""Guards of an evolution: what must not leak, become uniform, or go on without a gain."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agentevo.stages import Experience
from agentevo_environments.task import Task

GOOD_MARK = 0.5
"""Mark from which a judge calls an attempt good."""

SHINGLE = 13
"""Words in a row that count as a leak when a held-out text and the memory share them."""


def leaked(held_out: Sequence[Task], texts: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Return held-out tasks of which the memory holds the text, with the ids that hold it.

    A prompt leaks if a record holds the whole of it, or 13 words in a row (all of a shorter
    prompt).

    Args:
        held_out: Tasks that nothing may be learnt from.
        texts: What the memory holds, by record id.
    """
    words = {record_id: _words(text) for record_id, text in texts.items()}
    holders: dict[tuple[str, ...], list[str]] = {}
    sizes = {min(SHINGLE, len(_words(task.prompt))) for task in held_out} - {0}
    for record_id, found in words.items():
        for size in sizes:
            for shingle in _shingles(found, size):
                holders.setdefault(shingle, []).append(record_id)
    leaks = {}
    for task in held_out:
        prompt = _words(task.prompt)
        size = min(SHINGLE, len(prompt))
        ids = [each for shingle in _shingles(prompt, size) for each in holders.get(shingle, ())]
        if ids:
            leaks[str(task.id)] = tuple(dict.fromkeys(ids))
    return leaks


def distinct_pairs(texts: Iterable[str]) -> float:
    """Return distinct-2 (Li et al. 2016): the share of different pairs of neighbouring words.

    1 when no pair occurs twice, near 0 when everybody says the same; 1 without any pair.
    """
    pairs = [pair for text in texts for pair in _shingles(_words(text), 2)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def keep_real(
    chosen: Sequence[Task], pool: Sequence[Task], *, least_share: float, n: int
) -> list[Task]:
    """Return at most `n` tasks of which at least `least_share` are the environment's own.

    Invented tasks at the end give way to tasks of the pool that were not chosen.
    """
    own = {task.id for task in pool}
    real = [task for task in chosen if task.id in own]
    invented = [task for task in chosen if task.id not in own]
    taken = {task.id for task in real}
    spare = [task for task in pool if task.id not in taken]
    while invented and len(real) < least_share * (len(real) + len(invented)):
        if spare and len(real) + len(invented) <= n:
            real.append(spare.pop(0))
        if len(real) < least_share * (len(real) + len(invented)):
            invented.pop()
    return [*real, *invented][:n]


FEWEST_JUDGED = 10
"""Attempts that both must have judged before the judge may be switched off."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the judge agreed with the environment on whether an attempt was good.

    Attributes:
        agreed: Attempts on which both said the same.
        judged: Attempts that both judged.
    """

    agreed: int = 0
    judged: int = 0

    @property
    def share(self) -> float:
        """Share of agreement; 1 before anything was judged."""
        return self.agreed / self.judged if self.judged else 1.0

    def too_low(self, floor: float) -> bool:
        """Whether enough was judged to say that the share is below `floor`."""
        return self.judged >= FEWEST_JUDGED and self.share < floor

    def with_all(self, experiences: Iterable[Experience]) -> "Agreement":
        """Return the agreement with further attempts; those that no environment ran do not count."""
        agreed, judged = self.agreed, self.judged
        for entry in experiences:
            scores = {each.source: each.score for each in entry.feedback}
            ours, theirs = scores.get("environment"), scores.get("judge")
            if entry.solution.outcome is not None and ours is not None and theirs is not None:
                judged += 1
                agreed += (ours >= 1.0) == (theirs >= GOOD_MARK)
        return Agreement(agreed, judged)


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))


def _shingles(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    if size <= 0:
        return
    for start in range(len(words) - size + 1):
        yield tuple(words[start : start + size])
