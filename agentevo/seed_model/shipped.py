"""The seed model that is installed with the package."""

import json
from pathlib import Path
from typing import Any

from agentevo.errors import ModelError
from agentevo.seed_model.gguf_writer import CARD_KEY

PATTERN = "agentevo-seed-*.gguf"


def seed_model_path() -> Path:
    """Return the newest shipped file.

    Raises:
        ModelError: This installation has none.
    """
    found = sorted(Path(__file__).parent.glob(PATTERN))
    if not found:
        raise ModelError(
            f"this installation has no {PATTERN}; make one with `agentevo seed-model train`"
        )
    return found[-1]


def read_card(path: Path) -> dict[str, Any]:
    """Return the card in a file's metadata.

    Raises:
        ModelError: The file is no GGUF file or has no card.
    """
    import gguf

    try:
        field = gguf.GGUFReader(str(path)).get_field(CARD_KEY)
    except (OSError, ValueError, IndexError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as GGUF: {error}") from error
    if field is None:
        raise ModelError(f"{str(path)!r} has no card: it is not a seed model")
    card: dict[str, Any] = json.loads(field.contents())
    return card
