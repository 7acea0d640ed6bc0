"""What a candidate must show against the incumbent, and the verdict with its evidence.

A candidate is accepted only if every criterion rejects its own hypothesis ("no gain", "worse than
the margin allows"). Requiring all of them keeps the error of accepting a candidate that violates
any one of them at alpha, without a correction (intersection-union test, Berger 1982).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from agentevo.gate.sequential import PairedTest

Decision = Literal["accepted", "refused"]

Pair = tuple[float, float]
"""Scores in [0, 1] of candidate and incumbent on the same held-out task."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing to show.

    Attributes:
        name: Such as "gain", "retention", "leak", "override", "format".
        margin: 0 asks for a gain; above 0 allows the candidate to be worse by that much.
        alpha: Error rate of this criterion.
        budget: Largest number of pairs.
    """

    name: str
    margin: float = 0.0
    alpha: float = 0.05
    budget: int = 64


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one criterion saw.

    Attributes:
        criterion: What was asked.
        shown: Whether it was shown.
        pairs: Pairs used.
        mean_difference: Candidate minus incumbent.
        p_value: Anytime-valid.
        worse: Tasks on which the candidate scored lower.
        reason: "shown", "budget" (spent without showing), "futile" (could not be shown any more),
            or "no tasks".
    """

    criterion: Criterion
    shown: bool
    pairs: int
    mean_difference: float
    p_value: float
    worse: tuple[str, ...]
    reason: Literal["shown", "budget", "futile", "no tasks"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision on a candidate, kept for good.

    Attributes:
        decision: Whether the candidate may be served.
        evidence: One entry per criterion that was looked at; the first that fails ends the trial.
    """

    decision: Decision
    evidence: tuple[Evidence, ...] = field(default_factory=tuple)

    @property
    def accepted(self) -> bool:
        """Whether the candidate may be served."""
        return self.decision == "accepted"

    @property
    def harmed(self) -> tuple[str, ...]:
        """Every task that got worse under any criterion, in order of sight."""
        return tuple(dict.fromkeys(task for entry in self.evidence for task in entry.worse))

    def to_json(self) -> dict[str, Any]:
        """Return plain data for reports and the generation log."""
        return asdict(self)


class Gate:
    """Judges candidates by a list of criteria.

    Args:
        criteria: In the order in which they are tried; put the cheapest first.
    """

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        if not criteria:
            raise ValueError("a gate without criteria accepts everything; name at least one")
        names = [criterion.name for criterion in criteria]
        if len(set(names)) != len(names):
            raise ValueError(f"the criteria {names!r} have repeated names")
        self.criteria = tuple(criteria)

    def judge(
        self,
        tasks: Mapping[str, Sequence[str]],
        score: Callable[[str, str], Pair],
    ) -> Verdict:
        """Try a candidate.

        Args:
            tasks: For each criterion's name its held-out task ids, none used to make the
                candidate; in random order.
            score: Runs one task under a criterion for candidate and incumbent; called only as
                often as needed.
        """
        collected: list[Evidence] = []
        for criterion in self.criteria:
            evidence = weigh(criterion, self._scored(criterion.name, tasks, score))
            collected.append(evidence)
            if not evidence.shown:
                return Verdict("refused", tuple(collected))
        return Verdict("accepted", tuple(collected))

    @staticmethod
    def _scored(
        name: str, tasks: Mapping[str, Sequence[str]], score: Callable[[str, str], Pair]
    ) -> Sequence[tuple[str, Callable[[], Pair]]]:
        return [(task, partial(score, name, task)) for task in tasks.get(name, ())]


def weigh(criterion: Criterion, scored: Sequence[tuple[str, Callable[[], Pair]]]) -> Evidence:
    """Look at pairs one after the other until the criterion is shown, hopeless, or out of budget."""
    available = min(criterion.budget, len(scored))
    test = PairedTest(alpha=criterion.alpha, margin=criterion.margin, horizon=available or None)
    worse: list[str] = []
    reason: Literal["shown", "budget", "futile", "no tasks"] = "budget" if scored else "no tasks"
    for task, pair in scored[:available]:
        if not test.within_reach(available - test.pairs):
            reason = "futile"
            break
        candidate, incumbent = pair()
        test.update(candidate - incumbent)
        if candidate < incumbent:
            worse.append(task)
        if test.rejected:
            reason = "shown"
            break
    return Evidence(
        criterion, test.rejected, test.pairs, test.mean, test.p_value, tuple(worse), reason
    )
