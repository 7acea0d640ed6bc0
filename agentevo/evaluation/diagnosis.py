"""Diagnosis: which held-out failures have the same cause, for people; nothing is learnt from it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from agentevo.recall import Outcome

NO_ACTION = "no action was taken"
NO_ERROR = "no error, and not what was asked"
_NUMBER = re.compile(r"\d+")
_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Cluster:
    """Failures of one scope that ended in the same way.

    Attributes:
        scope: Where; "" for environments without scopes.
        kind: The last error, numbers and the scope's name left out, or why there was none.
        tasks: The tasks that failed so.
    """

    scope: str
    kind: str
    tasks: tuple[str, ...]

    def __str__(self) -> str:
        """Return the cluster in one line."""
        where = f" in {self.scope}" if self.scope else ""
        return f"{len(self.tasks)} failed{where}: {self.kind}"


def diagnose(outcomes: Iterable[Outcome]) -> tuple[Cluster, ...]:
    """Return the failures among outcomes in clusters, the largest first."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in outcomes:
        if not outcome.solved:
            found[outcome.scope, _kind(outcome)].append(outcome.task_id)
    clusters = [Cluster(scope, kind, tuple(sorted(ids))) for (scope, kind), ids in found.items()]
    return tuple(sorted(clusters, key=lambda each: (-len(each.tasks), each.scope, each.kind)))


def _kind(outcome: Outcome) -> str:
    if not outcome.turns:
        return NO_ACTION
    last = next((turn.observation for turn in reversed(outcome.turns) if turn.error), None)
    if last is None:
        return NO_ERROR
    text = re.sub(rf"\b{re.escape(outcome.scope)}\b", "*", last) if outcome.scope else last
    return " ".join(_NUMBER.sub("#", text).split())[:_LONGEST]
