"""Every number of a training, with defaults by model size."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from agentevo.distillation.rows import Row, RowKind
from agentevo.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
Method = Literal["context", "sft", "on_policy", "dpo"]
METHODS: tuple[Method, ...] = ("context", "sft", "on_policy", "dpo")

SMALL_MODEL = 20_000_000
LARGE_MODEL = 200_000_000
FEWEST_STEPS = 250
STEPS_A_RULE = 10


def _default_mix() -> dict[RowKind, int]:
    return {"target": 5, "with_rules": 1, "replay": 3, "scope": 7, "conflict": 3}


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train one adapter.

    Attributes:
        method: `context` (forward KL to the frozen base with rules, on verified trajectories),
            `sft` (likelihood of the trajectories), `on_policy` (the same KL on the student's own
            samples), `dpo` (verified against failed attempts).
        rank: LoRA rank.
        alpha: LoRA scale numerator; the deltas are scaled by alpha / rank.
        learning_rate: Peak of the schedule, which falls linearly to zero; None chooses by model
            size.
        steps: Optimiser steps; None is 10 for each rule that the rows teach, at least 250. With fewer,
            weights that hold many rules follow the rules told in other scopes less.
        warmup: Steps of linear warm-up.
        mix: Rows of each kind in every step; kinds without rows are left out.
        focus: Extra weight of the tokens that the rules decide; 0 treats all tokens alike.
        max_tokens: Longest row.
        precision: Of the matrix products; the weights of the adapter are always fp32. "auto" is
            fp32 for small models on a CPU, where casting costs more than it saves, else bf16.
        device: Where to compute, such as "cpu" or "cuda:0"; "auto" is the first GPU if there is
            one.
        clip: Largest gradient norm.
        beta: Strength of the reference in `dpo`.
        refresh: Steps between new samples of the student in `on_policy`.
        seed: Seed of the initial weights and of the order of rows.
        checkpoint_every: Steps between checkpoints.
    """

    method: Method = "context"
    rank: int = 8
    alpha: int = 16
    learning_rate: float | None = None
    steps: int | None = None
    warmup: int = 10
    mix: dict[RowKind, int] = field(default_factory=_default_mix)
    focus: float = 4.0
    max_tokens: int = 2048
    precision: Precision = "auto"
    device: str = "auto"
    clip: float = 1.0
    beta: float = 0.1
    refresh: int = 25
    seed: int = 0
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"unknown method {self.method!r}; methods: {', '.join(METHODS)}")
        if self.precision not in get_args(Precision):
            raise ConfigError(
                f"unknown precision {self.precision!r}; choose {', '.join(get_args(Precision))}"
            )
        for name in ("rank", "alpha", "steps", "max_tokens", "clip", "refresh", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value!r}")
        if self.focus < 0 or self.warmup < 0 or min(self.mix.values(), default=0) < 0:
            raise ConfigError("focus, warmup and the counts of mix must not be negative")

    def for_model(self, parameters: int) -> "TrainSettings":
        """Return the settings with the learning rate of a model of this size filled in."""
        if self.learning_rate is not None:
            return self
        return replace(self, learning_rate=2e-3 if parameters < SMALL_MODEL else 2e-4)

    def for_rows(self, rows: Iterable[Row]) -> "TrainSettings":
        """Return the settings with the steps that these rows need filled in."""
        if self.steps is not None:
            return self
        taught = {rule for row in rows if row.kind == "target" for rule in row.lineage.record_ids}
        return replace(self, steps=max(FEWEST_STEPS, STEPS_A_RULE * len(taught)))

    def half_precision(self, parameters: int, device: str) -> bool:
        """Return whether a model of this size computes in bf16 on a device such as "cpu"."""
        if self.precision == "auto":
            return device != "cpu" or parameters >= SMALL_MODEL
        return self.precision == "bf16"

    def threads(self, parameters: int, device: str) -> int | None:
        """Return how many threads compute a model of this size; None leaves it to torch.

        The products of a small model are too small to share, and on a busy processor threads that
        wait for each other slow a step down many times.
        """
        return 1 if device == "cpu" and parameters < SMALL_MODEL else None
