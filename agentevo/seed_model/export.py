"""From a checkpoint to a GGUF file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevo.seed_model.card import make_card
from agentevo.seed_model.checkpoint import load_checkpoint, vocabulary_of
from agentevo.seed_model.gguf_writer import Precision, write_gguf
from agentevo.seed_model.shape import Shape


def export(
    checkpoint: Path,
    out: Path,
    *,
    measured: Mapping[str, Any] | None = None,
    note: str = "",
    precision: Precision = "q8_0",
) -> dict[str, Any]:
    """Write the model of a checkpoint, its averaged weights, and return its card.

    Args:
        checkpoint: File of a training.
        out: GGUF file to write.
        measured: An evaluation as JSON, for the card.
        note: Anything else for the card.
        precision: Of the matrices.

    Raises:
        CheckpointError: The checkpoint is damaged, missing, or of another format.
    """
    state = load_checkpoint(checkpoint)
    card = make_card(state, measured, note)
    write_gguf(
        out,
        state["average"],
        Shape(**state["shape"]),
        vocabulary=vocabulary_of(state),
        card=card,
        precision=precision,
    )
    return card
