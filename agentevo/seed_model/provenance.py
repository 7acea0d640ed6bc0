"""What a training depends on, the stages it went through, and whether a resumption repeats it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from random import Random
from typing import Any

from agentevo.seed_model.curriculum import LEVELS
from agentevo.seed_model.episodes import draw_episode
from agentevo.seed_model.settings import TrainingSettings

SAMPLES = 16
"""Episodes of each level that stand for all of them."""
WITHOUT_EFFECT = ("report_s",)


@cache
def episodes_digest() -> str:
    """Return a short digest of sample episodes: another one, another generator."""
    random, digest = Random(0), hashlib.sha256()
    for level in range(len(LEVELS)):
        for _ in range(SAMPLES):
            digest.update(repr(draw_episode(random, level).spans).encode())
    return digest.hexdigest()[:16]


def surroundings() -> dict[str, str]:
    """Return what a training depends on besides its settings."""
    import torch

    return {"episodes": episodes_digest(), "torch": str(torch.__version__)}


def stage_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stage that a checkpoint's state ended: where it stood and under what settings."""
    step, tokens, _ = state["counters"]
    return {
        "until_step": step,
        "until_tokens": tokens,
        "until_s": round(state["elapsed_s"]),
        "settings": dict(state["settings"]),
        "made_with": dict(state.get("made_with", {})),
    }


def departures(state: Mapping[str, Any], settings: TrainingSettings) -> list[str]:
    """Say why what follows is not bit for bit what an uninterrupted training would do.

    Args:
        state: Of the checkpoint.
        settings: Of the resumption.

    Returns:
        Reasons; empty when the resumption is exact.
    """
    reasons = []
    if settings.minutes:
        reasons.append("with a budget in minutes the learning rate follows the clock")
    before, made_with = state["settings"], state.get("made_with", {})
    reasons += [
        f"{name} was {before.get(name)!r} and is {value!r}"
        for name, value in asdict(settings).items()
        if name not in WITHOUT_EFFECT and before.get(name) != value
    ]
    reasons += [
        f"{name} was {made_with.get(name, 'unknown')!r} and is {value!r}"
        for name, value in surroundings().items()
        if made_with.get(name) != value
    ]
    return reasons
