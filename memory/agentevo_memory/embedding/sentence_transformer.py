"""Any sentence-transformers model as an embedder."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agentevo_memory.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SentenceTransformerEmbedder:
    """Runs a sentence-transformers model on the CPU, one thread.

    Args:
        model: A model name or a folder.
        languages: The scripts that the model understands.
    """

    def __init__(self, model: str, languages: frozenset[str] = frozenset({"latin"})) -> None:
        self.model_id = f"sentence-transformers:{model}"
        self.languages = languages
        self._name = model

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer

            return SentenceTransformer(self._name, device="cpu")
        except ImportError as error:
            raise EmbeddingError(
                "this embedder needs sentence-transformers: pip install sentence-transformers"
            ) from error
        except (OSError, ValueError) as error:
            raise EmbeddingError(
                f"cannot load the sentence-transformers model {self._name!r}: {error}; "
                "give a folder that holds the model, or use 'minilm-int8'"
            ) from error

    @cached_property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self._model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one unit row per text."""
        import numpy as np

        rows = self._model.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(rows, dtype=np.float32)
