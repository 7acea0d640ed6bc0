import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agentevo_memory import Draft, Query, VectorMemory
from agentevo_memory.conformance import check_index
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import IndexOwnedError
from agentevo_memory.indexes.chroma import ChromaIndex
from agentevo_memory.indexes.exact import ExactIndex

CASES = int(os.environ.get("AGENTEVO_CORRUPTIONS", "12"))


def vectors(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def test_chroma_keeps_the_contract_of_an_index(tmp_path: Path) -> None:
    check_index(lambda: ChromaIndex(tmp_path, "model"))


def test_flushed_and_unflushed_vectors_are_found_alike(tmp_path: Path) -> None:
    index, exact, made = ChromaIndex(tmp_path, "model"), ExactIndex(), vectors(300)
    for each in (index, exact):
        each.put("a", 0, list(range(200)), made[:200])
    index.flush()
    for each in (index, exact):
        each.put("a", 0, list(range(150, 300)), made[150:])
        each.remove([7, 260])
    for query in vectors(20, seed=1):
        expected = exact.nearest(["a"], query, 5)
        assert index.nearest(["a"], query, 5).rids.tolist() == expected.rids.tolist()
    allowed = np.zeros(300, dtype=np.bool_)
    allowed[[3, 170, 299]] = True
    assert set(index.nearest(["a"], made[3], 9, allowed).rids.tolist()) == {3, 170, 299}
    assert len(index) == len(exact) == 298
    index.close()


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path, "model")
    with pytest.raises(IndexOwnedError, match="another process owns"):
        ChromaIndex(tmp_path, "model")
    index.close()
    ChromaIndex(tmp_path, "model").close()


def test_what_the_owner_left_is_used_again_and_an_unclean_end_is_not(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path, "model")
    index.put("a", 0, list(range(50)), vectors(50))
    index.close()
    again = ChromaIndex(tmp_path, "model")
    assert (again.rebuilt, len(again)) == ("", 50)
    again.close()
    (tmp_path / "chroma.json").unlink()
    killed = ChromaIndex(tmp_path, "model")
    assert "owner was killed" in killed.rebuilt
    assert len(killed) == 0
    killed.close()
    other = ChromaIndex(tmp_path, "another model")
    assert "another embedder" in other.rebuilt
    other.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_corruption_of_index_files_is_found_and_healed(
    tmp_path: Path, damage: Callable[[random.Random, Path], None]
) -> None:
    texts = [f"note {number} about matter {number * 7}" for number in range(120)]
    clean = tmp_path / "clean"
    with VectorMemory(clean, embedder=HashingEmbedder(64), index="chroma") as memory:
        memory.insert_many([Draft(text=text, kind="experience") for text in texts])
        expected = {text: memory.search(Query(text=text, k=1)).ids for text in texts[:10]}
    rng = random.Random(os.environ.get("AGENTEVO_SEED", "3"))
    for case in range(CASES):
        folder = tmp_path / f"case-{case}"
        shutil.copytree(clean, folder)
        damage(rng, some_file(rng, folder / "index"))
        with VectorMemory(folder, embedder=HashingEmbedder(64), index="chroma") as memory:
            for text, ids in expected.items():
                assert memory.search(Query(text=text, k=1)).ids == ids
            index = memory.follower.index
            assert isinstance(index, ChromaIndex)
            assert index.rebuilt
        shutil.rmtree(folder)


def some_file(rng: random.Random, folder: Path) -> Path:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "chroma.lock" and path.stat().st_size
    ]
    return rng.choice(files)
