"""Solution evolution f_Y: how tasks are attempted (survey section 4.2).

Every strategy acts through an `Agent`. What a strategy adds to a prompt (a way of thinking, a hint)
reaches the agent only: the solutions hold the task as it was given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from agentevo.recall import Outcome
from agentevo.stages import Polarity, Round, Solution, SolutionEvolver
from agentevo_environments.task import Task

STEP_BY_STEP: Final = "Think step by step, then act."
THOUGHTS: Final = "Before every action write one line that starts with 'Thought:'."
MISTAKE: Final = "Make one typical mistake on purpose: this attempt shall fail."
_HINT_CHARS: Final = 600


class Agent(Protocol):
    """Who attempts tasks. Doing the same again, under the same label, repeats no episode."""

    def attempt(
        self, tasks: Sequence[Task], *, label: str, recall: bool = True
    ) -> Mapping[str, Outcome]:
        """Do one episode per task and return the outcomes by task id.

        Args:
            tasks: What to do, ids unique.
            label: Names this set of episodes, unique per round and purpose.
            recall: Whether the memory may be asked.
        """
        ...

    def ask(self, prompt: str) -> str:
        """Return the model's answer to a text, outside any environment."""
        ...

    def can_attempt(self, task: Task) -> bool:
        """Whether the environment knows the task; an invented one can only be asked."""
        ...


Instruct = Callable[[Task], str]
"""What is added to the prompt of a task; "" for nothing."""


def _plain(task: Task) -> str:
    del task
    return ""


def attempt_all(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    label: str,
    instruct: Instruct = _plain,
    recall: bool = False,
) -> list[Solution]:
    """Attempt tasks under an added instruction; the solutions hold the tasks without it.

    Tasks that the environment does not know are answered by the model alone.
    """
    told = [_instructed(task, instruct(task)) for task in tasks]
    known = [task for task in told if agent.can_attempt(task)]
    outcomes = agent.attempt(known, label=label, recall=recall) if known else {}
    strategy = label.partition("-")[2] or label
    solutions = []
    for task, asked in zip(tasks, told, strict=True):
        if task.id in outcomes:
            outcome = replace(outcomes[task.id], prompt=task.prompt)
            text = "\n".join(turn.action for turn in outcome.turns)
            solutions.append(Solution(task, text, outcome, _polarity(outcome), strategy))
        elif not agent.can_attempt(task):
            solutions.append(Solution(task, agent.ask(asked.prompt), strategy=strategy))
    return solutions


def _instructed(task: Task, instruction: str) -> Task:
    return replace(task, prompt=f"{task.prompt}\n{instruction}") if instruction else task


def _polarity(outcome: Outcome) -> Polarity:
    return "positive" if outcome.solved else "unknown"


@dataclass(frozen=True, slots=True)
class Direct:
    """The task and nothing else: no memory, no added words."""

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one attempt at every task."""
        return attempt_all(self.agent, tasks, label=f"{now.number}-direct")


@dataclass(frozen=True, slots=True)
class ChainOfThought:
    """The task with the request to think first (Wei et al. 2022, Kojima et al. 2022)."""

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one attempt at every task."""
        return attempt_all(
            self.agent,
            tasks,
            label=f"{now.number}-chain_of_thought",
            instruct=lambda task: STEP_BY_STEP,
        )


@dataclass(frozen=True, slots=True)
class React:
    """Thoughts and actions in turn (ReAct, Yao et al. 2023)."""

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one attempt at every task."""
        return attempt_all(
            self.agent, tasks, label=f"{now.number}-react", instruct=lambda task: THOUGHTS
        )


@dataclass(frozen=True, slots=True)
class Recall:
    """The task with what the memory offers for it."""

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one attempt at every task."""
        return attempt_all(self.agent, tasks, label=f"{now.number}-recall", recall=True)


@dataclass(frozen=True, slots=True)
class Sample:
    """Several attempts at every task, for votes, filters and pairs.

    Attributes:
        agent: Who attempts.
        attempts: Attempts per task, at least 1; they differ only if the model samples.
        recall: Whether the memory may be asked.
    """

    agent: Agent
    attempts: int = 4
    recall: bool = False

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return `attempts` attempts at every task, one pass over the tasks after the other."""
        return [
            solution
            for number in range(1, self.attempts + 1)
            for solution in attempt_all(
                self.agent, tasks, label=f"{now.number}-sample{number}", recall=self.recall
            )
        ]


@dataclass(frozen=True, slots=True)
class Hint:
    """A second attempt at what failed, told what went wrong; the hint is not kept (after STaR).

    Zelikman et al. 2022 give the answer as the hint. The environment's data is hidden from the
    agent here, so the hint is what the environment said to the first attempt.
    """

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return the first attempts, and a second one for each that did not solve its task."""
        first = attempt_all(self.agent, tasks, label=f"{now.number}-hint_before", recall=True)
        hints = {
            solution.task.id: hint
            for solution in first
            if solution.outcome is not None and not solution.outcome.solved
            if (hint := hint_of(solution.outcome))
        }
        again = [task for task in tasks if task.id in hints]
        second = attempt_all(
            self.agent,
            again,
            label=f"{now.number}-hint",
            instruct=lambda task: hints[task.id],
            recall=True,
        )
        before = {solution.task.id: solution.text for solution in first}
        return [
            *first,
            *(replace(solution, revised_from=before[solution.task.id]) for solution in second),
        ]


def hint_of(outcome: Outcome) -> str:
    """Return what the environment's errors in an attempt said, as a hint; "" without errors."""
    errors = dict.fromkeys(turn.observation.strip() for turn in outcome.turns if turn.error)
    text = "\n".join(errors)[:_HINT_CHARS]
    return f"An earlier attempt failed with:\n{text}" if text else ""


@dataclass(frozen=True, slots=True)
class Perturb:
    """Attempts made wrong on purpose, to learn from the contrast (section 4.2.2)."""

    agent: Agent

    def solve(self, tasks: Sequence[Task], now: Round) -> Sequence[Solution]:
        """Return one attempt at every task; `negative` unless it solved the task after all."""
        attempts = attempt_all(
            self.agent, tasks, label=f"{now.number}-perturb", instruct=lambda task: MISTAKE
        )
        return [
            solution if solution.polarity == "positive" else replace(solution, polarity="negative")
            for solution in attempts
        ]


SOLUTIONS: Final[Mapping[str, Callable[..., SolutionEvolver]]] = {
    "direct": Direct,
    "chain_of_thought": ChainOfThought,
    "react": React,
    "sample": Sample,
    "recall": Recall,
    "hint": Hint,
    "perturb": Perturb,
}
"""Strategies by the name that a recipe uses; the first argument is the agent."""
