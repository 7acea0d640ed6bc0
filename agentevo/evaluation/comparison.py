"""Arms on the same tasks: paired p, intervals, the tasks that got worse, the normalised gain."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentevo.runs.report import wilson_interval

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of doing the exam.

    Attributes:
        name: Such as "stateless" or "memory".
        solved: Whether each task was solved, by task id.
        input_tokens: Tokens read.
        output_tokens: Tokens written.
        seconds: Seconds that its episodes took.
        note: What the arm is, in one line.
    """

    name: str
    solved: Mapping[str, bool]
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def rate(self) -> float:
        """Share of the tasks that were solved."""
        return sum(self.solved.values()) / len(self.solved) if self.solved else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `rate`."""
        return wilson_interval(sum(self.solved.values()), len(self.solved))

    def to_json(self) -> dict[str, Any]:
        """Return the arm as JSON values, derived figures included."""
        return {
            **asdict(self),
            "solved": dict(self.solved),
            "rate": self.rate,
            "interval": list(self.interval),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Arm":
        """Return the arm that `to_json` described."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against a control on the same tasks.

    Attributes:
        arm: The arm.
        control: The control.
        difference: Difference of their rates.
        interval: 95 % interval of the difference, by a paired bootstrap.
        p_value: Exact two-sided McNemar test.
        harmed: Tasks that only the control solved.
        helped: Tasks that only the arm solved.
        normalised_gain: Share of what the control leaves to gain; None if it leaves nothing.
    """

    arm: str
    control: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    harmed: tuple[str, ...]
    helped: tuple[str, ...]
    normalised_gain: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {
            **asdict(self),
            "interval": list(self.interval),
            "harmed": list(self.harmed),
            "helped": list(self.helped),
        }


def compare(arm: Arm, control: Arm, *, seed: int = 0) -> Comparison:
    """Compare two arms over the tasks that both did."""
    shared = [task for task in arm.solved if task in control.solved]
    pairs = [(arm.solved[task], control.solved[task]) for task in shared]
    helped = tuple(task for task in shared if arm.solved[task] and not control.solved[task])
    harmed = tuple(task for task in shared if control.solved[task] and not arm.solved[task])
    difference = (len(helped) - len(harmed)) / len(shared) if shared else 0.0
    left = 1.0 - control.rate
    return Comparison(
        arm=arm.name,
        control=control.name,
        difference=difference,
        interval=_bootstrap([int(a) - int(b) for a, b in pairs], seed),
        p_value=mcnemar(len(helped), len(harmed)),
        harmed=harmed,
        helped=helped,
        normalised_gain=difference / left if left > 0 else None,
    )


def mcnemar(won: int, lost: int) -> float:
    """Return the exact two-sided p-value of `won` against `lost` discordant pairs."""
    total = won + lost
    if total == 0:
        return 1.0
    tail: float = sum(math.comb(total, k) for k in range(min(won, lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


def _bootstrap(differences: Sequence[int], seed: int) -> tuple[float, float]:
    import numpy as np

    if not differences:
        return (-1.0, 1.0)
    source = np.random.default_rng(seed)
    values = np.asarray(differences, dtype=float)
    chosen = source.integers(0, len(values), size=(_RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(axis=1), [0.025, 0.975])
    return (float(low), float(high))
