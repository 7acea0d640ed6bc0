"""The memory as the episode graph sees it: recall before acting, an outcome afterwards.

The port is a Protocol so that the graph runs without any memory, with `agentevo_memory`, or with
a store of the user's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

RecalledKind = Literal["rule", "skill", "fact", "experience", "summary"]


@dataclass(frozen=True, slots=True)
class Recalled:
    """One record that the memory offers for a prompt.

    Attributes:
        id: Record id in the memory.
        kind: What it is; verified rules instruct, everything else informs.
        text: What is shown to the model.
        score: Relevance, larger is better; comparable within one recall only.
        trusted: Whether it may instruct. Untrusted text is shown as data.
    """

    id: str
    kind: RecalledKind
    text: str
    score: float
    trusted: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """One action of an episode and what the environment answered."""

    action: str
    observation: str
    error: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished episode, as the memory keeps it: an experience of the survey (section 3.2.1).

    Attributes:
        run_id: The run it belongs to.
        episode_id: Unique over all runs; the idempotency key of everything derived from it.
        environment: Name of the environment.
        task_id: The task.
        scope: The task's scope.
        prompt: The task's prompt.
        turns: What was done, in order.
        solved: The environment's verdict.
        score: From 0 to 1.
        recalled: Ids of the records that were in the prompt.
    """

    run_id: str
    episode_id: str
    environment: str
    task_id: str
    scope: str
    prompt: str
    turns: tuple[Turn, ...]
    solved: bool
    score: float
    recalled: tuple[str, ...] = ()


class Memory(Protocol):
    """What the episode graph asks of a memory. Calls may come from several threads."""

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        """Return the records to show for `query`, best first, within the token budget."""
        ...

    def observe(self, outcome: Outcome) -> None:
        """Take in a finished episode: store the experience, credit or blame what was recalled.

        Called at least once per episode; a second call with the same episode id has no effect.
        """
        ...
