"""Refinement f_R by correcting: attempts made better before they are learnt (survey section 5.2).

A corrector may also make things worse. The flip matrix counts both, and a corrector that does not
repair more than it breaks switches itself off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from agentevo.stages import (
    NO_CHANGES,
    Dropped,
    Experience,
    FeedbackGiver,
    Refined,
    Round,
    Solution,
)

Ask = Callable[[str], str]
"""A language model: prompt in, text out."""
Attempt = Callable[[Experience], Solution]
"""Tries the task of an experience again, knowing its feedback."""

_PROBATION = 8


@dataclass(slots=True)
class FlipMatrix:
    """What a corrector did to attempts whose truth is known.

    Attributes:
        repaired: Wrong before, right after.
        broken: Right before, wrong after.
        unchanged: As right or wrong as before.
    """

    repaired: int = 0
    broken: int = 0
    unchanged: int = 0

    def count(self, before: bool, after: bool) -> None:
        """Take in one correction."""
        if before == after:
            self.unchanged += 1
        elif after:
            self.repaired += 1
        else:
            self.broken += 1

    @property
    def harmful(self) -> bool:
        """Whether, after enough corrections, it broke at least as many as it repaired."""
        changed = self.repaired + self.broken
        return changed + self.unchanged >= _PROBATION and 0 < changed <= 2 * self.broken


@dataclass(slots=True)
class Revise:
    """Rewrites an attempt against a critique until the critic is content (Self-Refine, CRITIC).

    Attributes:
        ask: The model that rewrites.
        critic: Says what is wrong.
        judge: Tells whether a rewrite is right; environment or match rather than a model.
        rounds: Rewrites at most.
        flips: What it has done so far.
    """

    ask: Ask
    critic: FeedbackGiver
    judge: FeedbackGiver
    rounds: int = 2
    flips: FlipMatrix = field(default_factory=FlipMatrix)

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return every experience, revised where the critic asked for it."""
        del now
        return Refined(tuple(self._revise(entry) for entry in experiences))

    def _revise(self, entry: Experience) -> Experience:
        if self.flips.harmful:
            return entry
        solution = entry.solution
        for _ in range(self.rounds):
            comment = self.critic.assess(solution)
            if NO_CHANGES in comment.text:
                break
            text = self.ask(
                f"Task:\n{solution.task.prompt}\n\nAttempt:\n{solution.text}\n\nCritique:\n"
                f"{comment.text}\n\nWrite the whole corrected attempt and nothing else."
            )
            solution = replace(solution, text=text, outcome=None, revised_from=solution.text)
        return _counted(self.flips, entry, solution, self.judge)


@dataclass(slots=True)
class Retry:
    """Tries failed tasks again, guided by what the environment said (Reflexion's trial loop).

    Attributes:
        attempt: Makes the next attempt.
        judge: Tells whether it is right.
        tries: Further attempts at most.
        flips: What it has done so far.
    """

    attempt: Attempt
    judge: FeedbackGiver
    tries: int = 1
    flips: FlipMatrix = field(default_factory=FlipMatrix)

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return every experience, the failed ones replaced by their last retry.

        A retry that solves the task keeps the failed attempt as its contrast.
        """
        del now
        return Refined(tuple(self._retry(entry) for entry in experiences))

    def _retry(self, entry: Experience) -> Experience:
        latest = entry
        for _ in range(self.tries):
            if latest.solved:
                break
            solution = self.attempt(latest)
            latest = _counted(self.flips, latest, solution, self.judge)
        if latest.solved and not entry.solved:
            return replace(latest, rejected=entry.solution)
        return latest


def _counted(
    flips: FlipMatrix, before: Experience, solution: Solution, judge: FeedbackGiver
) -> Experience:
    """Return the experience with its new attempt, after counting which way it flipped."""
    if solution is before.solution:
        return before
    # opinions on the old text do not hold for the new one
    after = Experience(solution, (judge.assess(solution),), before.rejected)
    flips.count(before.solved, after.solved)
    return after


@dataclass(frozen=True, slots=True)
class Chain:
    """Refiners one after the other; what one drops the next never sees."""

    parts: tuple[Callable[[Sequence[Experience], Round], Refined], ...]

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return what all parts keep, and everything that any of them dropped."""
        kept: tuple[Experience, ...] = tuple(experiences)
        dropped: tuple[Dropped, ...] = ()
        for part in self.parts:
            refined = part(kept, now)
            kept, dropped = refined.kept, dropped + refined.dropped
        return Refined(kept, dropped)
