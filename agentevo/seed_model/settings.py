"""How to train, and where a training stands."""

from dataclasses import dataclass, field

from agentevo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train.

    Attributes:
        minutes: Wall-clock budget; the learning rate reaches 0 at its end. 0: use `tokens`.
        tokens: Token budget; a run under it resumes bit-exactly. 0: use `minutes`.
        seed: Of the initial weights and of the stream.
        layers: Blocks of the network.
        batch_tokens: Tokens per step, padding included.
        rate: Peak learning rate of Muon.
        embedding_rate: Peak learning rate of AdamW on embeddings and norms.
        plateau: Share of the budget before the linear decay begins.
        longest: Longest episode, in tokens.
        device: "cpu" or "cuda".
        report_s: Seconds between reports with held-out accuracies and a checkpoint.
    """

    minutes: float = 0.0
    tokens: int = 0
    seed: int = 0
    layers: int = 4
    batch_tokens: int = 2304
    rate: float = 1e-3
    embedding_rate: float = 1e-3
    plateau: float = 0.3
    longest: int = 640
    device: str = "cpu"
    report_s: float = 180.0

    def __post_init__(self) -> None:
        """Refuse a missing or double budget.

        Raises:
            ConfigError: Not exactly one of `minutes` and `tokens` is above 0.
        """
        if (self.minutes > 0) == (self.tokens > 0):
            raise ConfigError(
                f"the budget is {self.minutes!r} minutes and {self.tokens!r} tokens; "
                "give exactly one of them, above 0"
            )


@dataclass(slots=True)
class Report:
    """Where a training stands.

    Attributes:
        progress: Share of the budget that is spent.
        step: Optimiser steps so far.
        tokens: Tokens so far.
        elapsed_s: Seconds of training so far, over all resumptions.
        level: Curriculum level.
        loss: Mean weighted loss since the last report.
        running: Accuracy by role over recent batches.
        held_out: Accuracy by role at the hardest level on reserved names; empty between checks.
        departures: Why the training is not bit for bit an uninterrupted one; empty when it is.
    """

    progress: float
    step: int
    tokens: int
    elapsed_s: float
    level: int
    loss: float
    running: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)
    departures: tuple[str, ...] = ()
