"""Rules on trial: a case done again with rules in its prompt that are not verified yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentevo.recall import Memory, Outcome, Recalled
from agentevo.stages import Experience
from agentevo_environments.task import Task
from agentevo_memory.retrieval import count_tokens

Replay = Callable[[Sequence[Task], Memory], Mapping[str, Outcome]]
"""Does tasks again with a memory and returns the outcomes by task id."""


@dataclass(frozen=True, slots=True)
class OnTrial:
    """A memory that also offers rules on trial, ahead of its own, so that they win.

    Attributes:
        memory: What is known already.
        rules: Texts on trial by scope.
    """

    memory: Memory
    rules: Mapping[str, tuple[str, ...]]

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        """Return the rules on trial in this scope, then what the memory offers."""
        offered: list[Recalled] = []
        left = budget_tokens
        for text in self.rules.get(scope, ()):
            cost = count_tokens(text)
            if cost <= left:
                offered.append(Recalled("", "rule", text, 1.0, trusted=True))
                left -= cost
        texts = {entry.text for entry in offered}
        known = self.memory.recall(query, environment=environment, scope=scope, budget_tokens=left)
        return [*offered, *(entry for entry in known if entry.text not in texts)]

    def observe(self, outcome: Outcome) -> None:
        """Leave the memory as it is."""
        del outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """A case before and after rules were put into its prompt.

    Attributes:
        before: Score and number of errors without them.
        after: Score and number of errors with them.
    """

    before: tuple[float, int]
    after: tuple[float, int]

    @property
    def helped(self) -> bool:
        """A higher score, or the same full score with fewer errors."""
        gained = self.after[0] > self.before[0]
        smoother = self.after[0] == self.before[0] == 1.0 and self.after[1] < self.before[1]
        return gained or smoother

    @property
    def hurt(self) -> bool:
        """A lower score."""
        return self.after[0] < self.before[0]

    @property
    def evidence(self) -> str:
        """What was seen, in words."""
        return (
            f"score {self.before[0]:.2f} with {self.before[1]} errors before, "
            f"{self.after[0]:.2f} with {self.after[1]} after"
        )


def try_rules(
    experiences: Sequence[Experience],
    memory: Memory,
    rules: Mapping[str, tuple[str, ...]],
    replay: Replay,
) -> Mapping[str, Trial]:
    """Do the cases in the scopes of the rules again and compare, by task id.

    Args:
        experiences: The cases; the latest attempt at each task counts as before.
        memory: What is known already.
        rules: Texts on trial by scope.
        replay: Does tasks again.
    """
    latest = {
        entry.task.id: entry
        for entry in experiences
        if entry.solution.outcome is not None and rules.get(entry.task.scope)
    }
    wanting = {
        name: entry
        for name, entry in latest.items()
        if entry.solution.outcome is not None and _standing(entry.solution.outcome) != (1.0, 0)
    }
    if not wanting:
        return {}
    tasks = [entry.task for entry in wanting.values()]
    done = replay(tasks, OnTrial(memory, rules))
    return {
        name: Trial(_standing(entry.solution.outcome), _standing(done[name]))
        for name, entry in wanting.items()
        if entry.solution.outcome is not None and name in done
    }


def _standing(outcome: Outcome) -> tuple[float, int]:
    return (
        1.0 if outcome.solved else outcome.score,
        sum(turn.error for turn in outcome.turns),
    )
