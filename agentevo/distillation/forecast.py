"""What a training will cost: tokens exactly, seconds from what this machine multiplies a second."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agentevo.distillation.rows import Row
from agentevo.distillation.settings import TrainSettings
from agentevo.models.llama.chat import ChatLlamaEngine

FLOPS_PER_WEIGHT = 6
"""Of one token, forward and backward: no gradients of the frozen weights, those of the adapter."""
USED_SHARE = 0.3
"""Of the measured speed, what small batches leave of it."""
_SIZE = 384


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected cost of a training.

    Attributes:
        settings: What it would be trained with.
        tokens: Tokens of all rows, in the student's prompts.
        tokens_a_step: Mean tokens of the rows of one step.
        seconds: Expected duration of the training alone on this machine now; right within a
            factor of about three.
    """

    settings: TrainSettings
    tokens: int
    tokens_a_step: int
    seconds: float


def forecast(rows: Sequence[Row], settings: TrainSettings, base: ChatLlamaEngine) -> Forecast:
    """Return what training on rows would cost."""
    engine = base.engine.model
    lengths: dict[str, list[int]] = {}
    for row in rows:
        lengths.setdefault(row.kind, []).append(len(engine.vocabulary.tokenize(row.text())))
    means = {kind: sum(found) / len(found) for kind, found in lengths.items()}
    a_step = sum(count * means.get(kind, 0) for kind, count in settings.mix.items())
    weights = sum(math.prod(shape) for shape in engine.file.shapes.values())
    settings = settings.for_model(weights).for_rows(rows)
    work = (settings.steps or 0) * a_step * FLOPS_PER_WEIGHT * weights
    total = sum(sum(found) for found in lengths.values())
    seconds = work / (USED_SHARE * _multiplications_a_second())
    return Forecast(settings, total, round(a_step), seconds)


def _multiplications_a_second() -> float:
    """Return floating-point operations a second of one thread, measured for a moment."""
    import numpy as np

    matrix = np.ones((_SIZE, _SIZE), dtype=np.float32)
    fastest = min(_seconds_of_one(matrix) for _ in range(5))
    return 2 * _SIZE**3 / fastest


def _seconds_of_one(matrix: object) -> float:
    started = time.perf_counter()
    matrix @ matrix  # type: ignore[operator]
    return time.perf_counter() - started
