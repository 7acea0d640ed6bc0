"""Refinement f_R by filtering: what is kept, what is dropped and why (survey section 5.1)."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agentevo.stages import Dropped, Experience, Refined, Refiner, Round


@dataclass(frozen=True, slots=True)
class Threshold:
    """Keeps what scored at least `least`; every attempt is judged by its most reliable source.

    Attributes:
        least: From 0 to 1.
    """

    least: float = 1.0

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Split by score."""
        del now
        kept = tuple(entry for entry in experiences if entry.score >= self.least)
        dropped = tuple(
            Dropped(entry, f"score {entry.score:.2f} is below {self.least:.2f}")
            for entry in experiences
            if entry.score < self.least
        )
        return Refined(kept, dropped)


@dataclass(frozen=True, slots=True)
class MajorityVote:
    """Keeps, per task, one attempt with the most frequent answer (Wang et al. 2023).

    Attributes:
        least_share: Share of the attempts at a task that must agree, from 0 to 1.
    """

    least_share: float = 0.5

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Vote task by task; a tie is decided by which answer came first."""
        del now
        kept: list[Experience] = []
        dropped: list[Dropped] = []
        for attempts in by_task(experiences).values():
            votes = Counter(_answer(entry) for entry in attempts)
            winner, count = votes.most_common(1)[0]
            share = count / len(attempts)
            first = next(entry for entry in attempts if _answer(entry) == winner)
            if share >= self.least_share:
                kept.append(first)
            for entry in attempts:
                if entry is not first or share < self.least_share:
                    dropped.append(Dropped(entry, f"{share:.0%} agree on {winner[:40]!r}"))
        return Refined(tuple(kept), tuple(dropped))


def _answer(entry: Experience) -> str:
    return " ".join(entry.solution.text.casefold().split())


@dataclass(frozen=True, slots=True)
class Pairs:
    """Keeps, per task, the best attempt together with the worst one, for contrast (ETO, DPO).

    Attributes:
        least_gap: By how much their scores must differ, above 0.
    """

    least_gap: float = 0.5

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Pair task by task; tasks whose attempts are alike are dropped."""
        del now
        kept: list[Experience] = []
        dropped: list[Dropped] = []
        for attempts in by_task(experiences).values():
            ranked = sorted(attempts, key=lambda entry: entry.score)
            worst, best = ranked[0], ranked[-1]
            if best.score - worst.score >= self.least_gap:
                kept.append(replace(best, rejected=worst.solution))
                rest = [entry for entry in attempts if entry is not best and entry is not worst]
                dropped += [Dropped(entry, "neither best nor worst") for entry in rest]
            else:
                dropped += [Dropped(entry, "no better and worse attempt") for entry in attempts]
        return Refined(tuple(kept), tuple(dropped))


def by_task(experiences: Sequence[Experience]) -> Mapping[str, list[Experience]]:
    """Return the attempts at each task, in order."""
    groups: defaultdict[str, list[Experience]] = defaultdict(list)
    for entry in experiences:
        groups[entry.task.id].append(entry)
    return groups


FILTERS: Final[Mapping[str, Callable[..., Refiner]]] = {
    "threshold": Threshold,
    "majority_vote": MajorityVote,
    "pairs": Pairs,
}
"""Filters by the name that a recipe uses; keyword arguments are their attributes."""
