"""The six functions of the survey as Protocols: f_T, f_Y, f_F, f_R, f_U, f_E (section 2).

Read this page first: every strategy of every stage implements one of these, and a recipe is a choice
of them. M_t is the generation that is served; ENV is reached through feedback and evaluation only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from agentevo.objective import Objective
from agentevo.recall import Outcome
from agentevo_environments.task import Task

FeedbackSource = Literal["environment", "match", "execution", "judge", "critique"]
MODEL_SOURCES: frozenset[FeedbackSource] = frozenset({"judge", "critique"})
NO_CHANGES: Final = "NO CHANGES"
"""What a critique says when there is nothing to mend."""

Polarity = Literal["positive", "negative", "unknown"]


@dataclass(frozen=True, slots=True)
class Solution:
    """Y_t: one attempt at a task.

    Attributes:
        task: What was attempted.
        text: The answer, or the actions of an episode one per line.
        outcome: The episode behind it; None for answers that no environment ran.
        polarity: `negative` when it was made wrong on purpose (section 4.2.2).
        strategy: Which solution strategy made it.
        revised_from: Text of the attempt that it corrects; "" for first attempts.
    """

    task: Task
    text: str
    outcome: Outcome | None = None
    polarity: Polarity = "unknown"
    strategy: str = ""
    revised_from: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """F_t: one opinion on a solution. Opinions of different sources are kept apart, never averaged.

    Attributes:
        source: Who judged.
        score: From 0 to 1; None when the source only comments.
        text: Why, for correctors and reflection.
    """

    source: FeedbackSource
    score: float | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Experience:
    """(T, Y, F) before refinement, (T~, Y~) after it.

    Attributes:
        solution: The attempt.
        feedback: Every opinion on it.
        rejected: A worse attempt at the same task, for contrast; None without one.
    """

    solution: Solution
    feedback: tuple[Feedback, ...]
    rejected: Solution | None = None

    @property
    def task(self) -> Task:
        """The task that was attempted."""
        return self.solution.task

    @property
    def score(self) -> float:
        """The score of the most reliable source: the environment's before any model's; 0 without."""
        scored = [entry for entry in self.feedback if entry.score is not None]
        scored.sort(key=lambda entry: entry.source in MODEL_SOURCES)
        return float(scored[0].score or 0.0) if scored else 0.0

    @property
    def solved(self) -> bool:
        """Whether that source gave the full score."""
        return self.score >= 1.0


@dataclass(frozen=True, slots=True)
class Dropped:
    """A decision of a refiner to leave something out, and why."""

    experience: Experience
    reason: str


@dataclass(frozen=True, slots=True)
class Refined:
    """What a refiner keeps and what it drops; nothing disappears without a reason."""

    kept: tuple[Experience, ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """What every stage may look at.

    Attributes:
        number: t, from 1.
        objective: E_t.
        seed: Seed of this round; stages derive their own randomness from it.
        history: Score of every task tried so far, latest attempt, by task id.
    """

    number: int
    objective: Objective
    seed: int
    history: Mapping[str, float] = field(default_factory=dict)


class TaskEvolver(Protocol):
    """f_T: T_t = f_T(E_t, M_t). Chooses, rewrites or invents tasks (section 4.1)."""

    def evolve(self, pool: Sequence[Task], n: int, now: Round) -> Sequence[Task]:
        """Return at most `n` tasks for this round; `pool` holds the environment's own tasks."""
        ...


class SolutionEvolver(Protocol):
    """f_Y: Y_t = f_Y(T_t, E_t, M_t). Attempts tasks (section 4.2)."""

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one or more attempts at every task."""
        ...


class FeedbackGiver(Protocol):
    """f_F: F_t = f_F(T_t, Y_t, E_t, M_t, ENV). Judges attempts (section 4.3)."""

    def assess(self, solution: Solution) -> Feedback:
        """Return an opinion on one attempt."""
        ...


class Refiner(Protocol):
    """f_R: (T~_t, Y~_t) = f_R(T_t, Y_t, F_t, E_t, M_t). Filters and corrects (section 5)."""

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return what is worth learning from, corrected where that is possible."""
        ...


@dataclass(frozen=True, slots=True)
class UpdateReceipt:
    """What an update did, in numbers and record or adapter ids.

    Attributes:
        counts: Such as {"inserted": 3, "rules": 2, "forgotten": 1}.
        ids: What was touched.
        note: One line for people; "" when the numbers say it all.
    """

    counts: Mapping[str, int]
    ids: tuple[str, ...] = ()
    note: str = ""


class Updater(Protocol):
    """f_U: M_{t+1} = f_U(T~_t, Y~_t, E_t, M_t). Makes a candidate M_{t+1} (section 6)."""

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Change memory or weights of the candidate; what is served stays as it is."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """S_{t+1}: what was measured.

    Attributes:
        scores: Score of every held-out task, by task id.
        abilities: Mean score of every leaf of the objective, by ability.
        notes: Qualitative findings, such as clusters of failures.
    """

    scores: Mapping[str, float]
    abilities: Mapping[str, float]
    notes: tuple[str, ...] = ()


class Evaluator(Protocol):
    """f_E: E_{t+1}, S_{t+1} = f_E(M_t, E_t, ENV). Measures on held-out tasks (section 7)."""

    def evaluate(self, tasks: Sequence[Task], now: Round) -> Evaluation:
        """Return the scores of the present candidate on tasks that nothing was learnt from."""
        ...
