"""The contracts of indexes and embedders as callable checks, for the tests of new ones.

Each check raises AssertionError with a message that says which promise is broken.
"""

from collections.abc import Callable

import numpy as np

from agentevo_memory.embedding.base import Embedder
from agentevo_memory.indexes.base import DenseIndex

_TEXTS = ("the server listens on port 8080", "alice likes green tea", "x", "日本語のテキスト")
_NEAR = 1e-3
_PUT = 4
_SLOTTED = 2


def check_embedder(embedder: Embedder) -> None:
    """Check that an embedder keeps its contract."""
    vectors = embedder.embed(_TEXTS)
    _require(vectors.shape == (len(_TEXTS), embedder.dimension), "one row per text")
    _require(vectors.dtype == np.float32, "vectors are float32")
    _require(bool(np.isfinite(vectors).all()), "vectors are finite")
    lengths = np.linalg.norm(vectors, axis=1)
    _require(bool(np.allclose(lengths, 1, atol=_NEAR)), "vectors have length 1")
    again = embedder.embed(_TEXTS[:2])
    _require(
        float((again * vectors[:2]).sum(axis=1).min()) > 1 - 2e-2, "equal texts, equal vectors"
    )
    _require(embedder.embed([]).shape[0] == 0, "no texts give no rows")
    _require(bool(embedder.model_id), "the model has an id")
    _require(embedder.languages <= {"latin", "cjk"}, "languages are latin or cjk")


def check_index(make: Callable[[], DenseIndex]) -> None:
    """Check that an empty index made by `make` keeps its contract."""
    index = make()
    index.settle()
    axes = np.eye(8, dtype=np.float32)
    index.put("a", 0, [1, 2, 3], axes[:3])
    index.put("b", 0, [4], axes[:1])
    _require(len(index) == _PUT, "every vector counts")
    _require(_found(index, "a", axes[0]) == [1, 2, 3], "only the asked partition is read")
    _require(_found(index, "none", axes[0]) == [], "an unknown partition holds nothing")
    index.put("a", 0, [1], axes[5:6])
    _require(len(index) == _PUT, "a second put replaces the first")
    _require(_found(index, "a", axes[5])[0] == 1, "the replaced vector is the one found")
    index.put("a", 1, [2], axes[6:7])
    _require(_found(index, "a", axes[6])[0] == _SLOTTED, "further slots are searched")
    _require(_found(index, "a", axes[6]).count(2) == 1, "a record is found once")
    allowed = np.zeros(5, dtype=np.bool_)
    allowed[3] = True
    chosen = index.nearest(["a"], axes[0], 9, allowed).rids.tolist()
    _require(chosen == [3], "the mask is kept")
    scores = index.scores(["a"], axes[6], [2, 3, 99])
    _require(abs(float(scores[0]) - 1) < _NEAR, "scores take the best slot")
    _require(bool(np.isnan(scores[2])), "the score of an unknown record is NaN")
    index.flush()
    _require(_found(index, "a", axes[6])[0] == _SLOTTED, "flushing changes no answer")
    index.remove([2, 99])
    _require(_SLOTTED not in _found(index, "a", axes[6]), "a removed record is not found")
    index.close()
    index.close()


def _found(
    index: DenseIndex, partition: str, vector: "np.ndarray[tuple[int], np.dtype[np.float32]]"
) -> list[int]:
    found: list[int] = index.nearest([partition], vector, 9).rids.tolist()
    return sorted(found) if float(vector[0]) else found


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(f"the contract is broken: {promise}")
