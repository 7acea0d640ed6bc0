"""Checkpoints of a training: written whole or not at all, checked when read."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevo.errors import AgentevoError
from agentevo.seed_model.tokenizer import Vocabulary

FORMAT = 2


class CheckpointError(AgentevoError, ValueError):
    """A checkpoint that is damaged, missing, or of another format."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training's state; a crash leaves the old file in place."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(path.suffix + ".new")
    torch.save({"format": FORMAT, **state}, fresh)
    fresh.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training's state.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {str(path)!r}: start without --resume")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} cannot be read ({type(error).__name__}): it is damaged; "
            "use an older copy or start without --resume"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint of format {FORMAT}: train it again with this version"
        )
    return state


def vocabulary_of(state: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary that a training was started with."""
    merges = tuple((left, right) for left, right in state["merges"])
    return Vocabulary(tuple(state["tokens"]), merges)
