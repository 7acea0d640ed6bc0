"""Feedback f_F: opinions on attempts, each with its source (survey section 4.3).

What the environment or an execution says counts before what a model says; a critique never has the
last word (section 8.3: self-correction without outside feedback is unsettled).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agentevo.prompts import render_critique, render_judgement
from agentevo.stages import NO_CHANGES, Feedback, Solution
from agentevo_environments.sandboxes.base import DEFAULT_LIMITS, Limits, Program, Sandbox

Ask = Callable[[str], str]
"""A language model: prompt in, text out."""

_LAST_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_VERDICT = re.compile(r"score\s*[:=]\s*(?P<score>\d+(?:\.\d+)?)", re.IGNORECASE)
_TOP_MARK: Final = 10.0


@dataclass(frozen=True, slots=True)
class EnvironmentFeedback:
    """The grade of the episode, with the errors that its actions met."""

    def assess(self, solution: Solution) -> Feedback:
        """Return the environment's grade; a solution that it never ran has score 0."""
        outcome = solution.outcome
        if outcome is None:
            return Feedback("environment", 0.0, "the environment never ran this")
        errors = [turn.observation for turn in outcome.turns if turn.error]
        score = 1.0 if outcome.solved else min(outcome.score, 0.999)
        return Feedback("environment", score, "\n".join(errors))


@dataclass(frozen=True, slots=True)
class ExactMatch:
    """Comparison with the task's `reference`: equal after folding case and space, or as a number."""

    def assess(self, solution: Solution) -> Feedback:
        """Return 1 for a match, 0 otherwise, and no score without a reference."""
        reference = solution.task.data.get("reference")
        if reference is None:
            return Feedback("match", None, "the task has no reference")
        same = _fold(str(reference)) == _fold(solution.text)
        wanted, found = _number(str(reference)), _number(solution.text)
        same = same or (wanted is not None and wanted == found)
        return Feedback("match", float(same), "" if same else f"expected {reference!r}")


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _number(text: str) -> float | None:
    """Return the last number of an answer that ends in one."""
    numbers = _LAST_NUMBER.findall(text.replace(",", ""))
    return float(numbers[-1]) if numbers else None


@dataclass(frozen=True, slots=True)
class Execution:
    """The attempt's text run as Python in a sandbox.

    Attributes:
        sandbox: A started sandbox.
        limits: What the run may use.
    """

    sandbox: Sandbox
    limits: Limits = DEFAULT_LIMITS

    def assess(self, solution: Solution) -> Feedback:
        """Return 1 when it exits with status 0, else 0 and the end of its error output."""
        result = self.sandbox.exec(Program(code=solution.text), limits=self.limits)
        if result.ok:
            return Feedback("execution", 1.0, result.stdout[-500:])
        return Feedback("execution", 0.0, f"{result.ending}: {result.stderr[-500:]}")


@dataclass(frozen=True, slots=True)
class Judge:
    """A model's mark from 0 to 10 with its reason (LLM as a judge, Zheng et al. 2023)."""

    ask: Ask

    def assess(self, solution: Solution) -> Feedback:
        """Return the mark as a score; an answer without a mark gives no score."""
        answer = self.ask(render_judgement(solution.task.prompt, solution.text))
        found = _VERDICT.search(answer)
        score = min(float(found["score"]), _TOP_MARK) / _TOP_MARK if found else None
        return Feedback("judge", score, answer.strip())


@dataclass(frozen=True, slots=True)
class Critique:
    """A model's comment without a mark, against a principle if one is given."""

    ask: Ask
    principle: str = ""

    def assess(self, solution: Solution) -> Feedback:
        """Return the comment; a comment that holds the stop word asks for no change."""
        question = render_critique(
            solution.task.prompt, solution.text, approval=NO_CHANGES, principle=self.principle
        )
        answer = self.ask(question)
        return Feedback("critique", None, answer.strip())
