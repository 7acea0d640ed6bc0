"""A deterministic embedder without a model: words and character triples hashed to coordinates.

For tests, and for stores that must work with the standard library and numpy only. Texts that share
words are near to each other; it knows nothing of meaning.
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentevo_memory.language import search_terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HashingEmbedder:
    """Feature hashing with signs into `dimension` coordinates."""

    languages = frozenset({"latin", "cjk"})

    def __init__(self, dimension: int = 256) -> None:
        self.dimension = dimension
        self.model_id = f"hashing-{dimension}"

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one unit row per text; a text without words gets the first axis."""
        import numpy as np

        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for feature, weight in _features(text):
                code = zlib.crc32(feature.encode("utf-8", "replace"))
                row[code % self.dimension] += weight if code & 0x8000_0000 else -weight
        rows[~rows.any(axis=1), 0] = 1.0
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows


def _features(text: str) -> list[tuple[str, float]]:
    terms = search_terms(text)
    triples = [word[i : i + 3] for word in terms for i in range(len(word) - 2)]
    return [(term, 1.0) for term in terms] + [("#" + triple, 0.3) for triple in triples]
