"""The contract of an embedder, and the table of the built-in ones.

An embedder turns texts into unit vectors. `model_id` names everything the numbers depend on; it is
stored with every vector, and vectors of different ids are never compared.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from agentevo_memory.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


DEFAULT_EMBEDDER = "minilm-int8"


class Embedder(Protocol):
    """Text to vectors.

    Calls may come from several threads. The same text always gives the same vector, whatever else
    is in the batch, up to rounding.
    """

    @property
    def model_id(self) -> str:
        """Name of the model and of everything that changes its numbers."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        ...

    @property
    def languages(self) -> frozenset[str]:
        """Scripts it understands: some of "latin", "cjk"."""
        ...

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one unit row per text.

        Raises:
            EmbeddingError: If the model cannot be loaded or run.
        """
        ...


def init_embedder(name: str = DEFAULT_EMBEDDER) -> Embedder:
    """Return the embedder of this name.

    Args:
        name: `minilm-int8`, `minilm` (float32), `hashing`, or `sentence-transformers:MODEL`.

    Raises:
        EmbeddingError: For an unknown name; the message lists the known ones.
    """
    if name == "hashing":
        from agentevo_memory.embedding.hashing import HashingEmbedder

        return HashingEmbedder()
    if name in ("minilm", "minilm-int8"):
        from agentevo_memory.embedding.onnx import OnnxEmbedder

        return OnnxEmbedder(precision="int8" if name.endswith("int8") else "float32")
    prefix, _, model = name.partition(":")
    if prefix == "sentence-transformers" and model:
        from agentevo_memory.embedding.sentence_transformer import SentenceTransformerEmbedder

        return SentenceTransformerEmbedder(model)
    raise EmbeddingError(
        f"unknown embedder {name!r}; available: hashing, minilm, minilm-int8, "
        "sentence-transformers:MODEL"
    )


def embed_checked(embedder: Embedder, texts: Sequence[str]) -> "NDArray[np.float32]":
    """Return one unit row per text, whatever the embedder gives.

    Raises:
        EmbeddingError: If it gives anything else than one vector of its dimension per text.
    """
    return check_vectors(embedder.embed(texts), len(texts), embedder.dimension)


def check_vectors(
    vectors: "NDArray[np.float32]", count: int, dimension: int
) -> "NDArray[np.float32]":
    """Return `vectors` as unit float32 rows.

    Raises:
        EmbeddingError: If the shape is not (count, dimension), or a value is not finite, or a row
            has no length.
    """
    import numpy as np

    try:
        array = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(f"an embedding must be an array of numbers: {error}") from error
    if array.shape != (count, dimension):
        raise EmbeddingError(
            f"embedding of shape {array.shape}; expected {(count, dimension)}: "
            "the vector must come from the embedder of this store"
        )
    with np.errstate(over="ignore"):
        length = np.sqrt(np.add.reduce(array * array, axis=1, keepdims=True))
    if not np.isfinite(length).all():
        raise EmbeddingError(
            "the embedding holds NaN, infinity or numbers beyond 1e18; embed the text again"
        )
    if not length.all():
        raise EmbeddingError("the embedding has length zero; a unit vector is needed")
    return np.asarray(array / length, dtype=np.float32)
