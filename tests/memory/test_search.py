import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import Draft, Feedback, Query, RecordError, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import EmbeddingError, StoreReadOnlyError
from agentevo_memory.retrieval import Weights, learn


def test_hits_explain_their_scores(memory: VectorMemory) -> None:
    memory.insert("Green tea is served at noon")
    memory.insert("Black coffee is served at dawn")
    hit = memory.search("when is coffee served").hits[0]
    assert "coffee" in hit.record.text
    parts = {name: value for name, value in hit.explain.items() if name != "cosine"}
    assert hit.score == pytest.approx(sum(parts.values()), abs=1e-5)


def test_nothing_is_read_across_namespaces(memory: VectorMemory) -> None:
    memory.insert(Draft(text="The secret is 42", namespace=("alice",)))
    memory.insert(Draft(text="The weather is fine", namespace=("bob",)))
    found = memory.search(Query(text="The secret is 42", namespace=("bob",), floor=0.0))
    assert [hit.record.text for hit in found.hits] == ["The weather is fine"]
    assert memory.search(Query(text="secret", namespace=("ali",))).hits == ()
    assert "holds no records" in memory.search(Query(text="secret", namespace=("ali",))).note


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=12, unique=True
    ),
    st.sampled_from("abc"),
)
def test_no_query_returns_a_record_of_another_namespace(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, int]], asked: str
) -> None:
    with VectorMemory(
        tmp_path_factory.mktemp("spaces"), embedder=HashingEmbedder(), index="exact"
    ) as memory:
        memory.insert_many(
            [Draft(text=f"item {number} of stock", namespace=(space,)) for space, number in entries]
        )
        found = memory.search(Query(text="item of stock", namespace=(asked,), k=50, floor=0.0))
        expected = {f"item {number} of stock" for space, number in entries if space == asked}
        assert {hit.record.text for hit in found.hits} == expected


def test_the_memory_abstains_below_the_floor(memory: VectorMemory) -> None:
    memory.insert("Green tea is served at noon")
    result = memory.search(Query(text="quantum chromodynamics lattice", floor=0.3))
    assert result.hits == ()
    assert "evidence" in result.note


def test_quotas_budget_and_kinds_limit_the_hits(memory: VectorMemory) -> None:
    memory.insert_many([Draft(text=f"port fact {i} alpha") for i in range(5)])
    memory.insert_many([Draft(text=f"port rule {i} beta", kind="rule") for i in range(5)])
    kinds = [hit.record.kind for hit in memory.search(Query(text="port", quotas={"rule": 2})).hits]
    assert kinds.count("rule") == 2
    only = memory.search(Query(text="port", kinds=("rule",))).hits
    assert {hit.record.kind for hit in only} == {"rule"}
    assert len(memory.search(Query(text="port", budget_tokens=13)).hits) == 2


def test_names_in_the_query_boost_the_records_that_concern_them(memory: VectorMemory) -> None:
    memory.insert(Draft(text="went hiking", kind="experience", entities=("Caroline",)))
    memory.insert(Draft(text="went hiking", kind="experience", entities=("Melanie",)))
    hit = memory.search("When did Melanie go hiking?").hits[0]
    assert hit.record.entities == ("Melanie",)
    assert hit.explain["entity"] > 0


def test_neighbours_in_a_conversation_lend_their_relevance(memory: VectorMemory) -> None:
    turns = ["Where did you buy the violin?", "In a small shop.", "The soup was cold.", "Indeed."]
    memory.insert_many(
        [
            Draft(text=text, kind="experience", session="s", sequence=i)
            for i, text in enumerate(turns)
        ]
    )
    found = memory.search(Query(text="place where the violin was bought", floor=0.0)).hits
    ranks = {hit.record.text: rank for rank, hit in enumerate(found)}
    assert ranks["In a small shop."] < ranks["Indeed."]


def test_chinese_is_found_by_words_when_the_embedder_knows_english_only(
    memory: VectorMemory,
) -> None:
    class English(HashingEmbedder):
        languages = frozenset({"latin"})

    memory.embedder = English()
    memory.insert_many([Draft(text="服务器监听端口八零八零"), Draft(text="今天天气很好")])
    hit = memory.search("哪个端口").hits[0]
    assert "端口" in hit.record.text
    assert hit.explain["dense"] == 0


def test_validity_and_earlier_knowledge_can_be_asked_for(memory: VectorMemory, clock: Any) -> None:
    old = memory.insert(Draft(text="The capital is Bonn", key="capital"))
    before = clock.now
    clock.now += 100
    memory.insert(Draft(text="The capital is Berlin", key="capital"))
    assert memory.search("capital").hits[0].record.text == "The capital is Berlin"
    assert memory.search(Query(text="capital", known_at=before)).ids == (old.id,)
    memory.insert(Draft(text="The fair is open", valid_from=2e9, valid_to=3e9))
    assert memory.search("fair open").hits == ()
    assert memory.search(Query(text="fair open", valid_at=2.5e9)).hits


def test_repetitions_in_other_inflections_are_collapsed(memory: VectorMemory) -> None:
    memory.insert(Draft(text="The server restarts nightly", kind="experience"))
    memory.insert(Draft(text="The server restarted nightly", kind="experience"))
    assert len(memory.search("server restart").hits) == 1
    assert len(memory.search(Query(text="server restart", collapse=False)).hits) == 2


def test_feedback_moves_strength_and_weights_once_per_key(memory: VectorMemory) -> None:
    record = memory.insert("Restart the worker after deploying").id
    memory.search("what to do after deploying")
    before = memory.weights(("default",))
    given_ = Feedback(ids=(record,), helped=True, idempotency_key="e1")
    assert memory.feedback(given_)
    assert not memory.feedback(given_)
    assert memory.get(record).helped == 1
    memory.feedback(Feedback(ids=(record,), helped=False))
    assert (memory.get(record).harmed, memory.get(record).strength) == (1, 0.5)
    after = memory.weights(("default",))
    assert after.dense + after.lexical == pytest.approx(1)
    assert before.dense == 0.6


def test_names_that_mislead_lose_their_weight_and_the_better_record_comes_first(
    memory: VectorMemory,
) -> None:
    named = memory.insert(Draft(text="the review of the garden", entities=("Nora",))).id
    right = memory.insert("the review of the budget happens in march").id
    query = Query(text="when is the review of the budget for Nora", floor=0.0)
    gap = []
    for turn in range(30):
        scores = {hit.record.id: hit.score for hit in memory.search(query).hits}
        gap.append(scores[right] - scores[named])
        memory.feedback(Feedback(ids=(named,), helped=False, idempotency_key=f"{turn}"))
    assert memory.weights(("default",)).entity < 0.05
    assert memory.weights(("elsewhere",)) == Weights()
    assert gap[-1] > gap[0]


channels = st.fixed_dictionaries(
    {
        "dense": st.floats(0, 0.9),
        "lexical": st.floats(0, 0.9),
        "entity": st.sampled_from([0.0, 0.15]),
        "question": st.sampled_from([0.0, -0.1]),
    }
)


@given(st.lists(st.tuples(channels, st.booleans()), max_size=60))
def test_learned_weights_stay_in_bounds_and_move_towards_what_helps(
    steps: list[tuple[dict[str, float], bool]],
) -> None:
    weights = Weights()
    for explain, helped in steps:
        weights = learn(weights, explain, helped)
        assert weights.dense + weights.lexical == pytest.approx(1)
        assert 0.1 <= weights.dense <= 0.9
        assert 0 <= weights.entity <= 0.4
        assert 0 <= weights.question <= 0.3
    by_words = {"dense": 0.0, "lexical": 0.4, "entity": 0.15, "question": -0.1}
    assert learn(Weights(), by_words, helped=True).lexical > 0.4
    assert learn(Weights(), by_words, helped=True).entity > 0.15
    assert learn(Weights(), by_words, helped=True).question < 0.1
    assert learn(Weights(), by_words, helped=False).lexical < 0.4


@pytest.mark.parametrize(
    "query",
    [
        Query(text=" "),
        Query(text="x", k=0),
        Query(text="x", kinds=("thought",)),  # type: ignore[arg-type]
        Query(text="x", namespace=("",)),
        Query(text="\ud800"),
        Query(text="x", budget_tokens=-1),
        None,
    ],
)
def test_bad_queries_are_refused(memory: VectorMemory, query: Query) -> None:
    with pytest.raises(RecordError):
        memory.search(query)


@pytest.mark.parametrize(
    "vector",
    [
        np.ones(3, np.float32),
        np.full(256, np.nan, np.float32),
        np.zeros(256, np.float32),
        np.full(256, np.inf, np.float32),
        np.full(256, 1e30, np.float32),
        "vector",
    ],
)
def test_wrong_embeddings_are_refused(memory: VectorMemory, vector: np.ndarray) -> None:
    with pytest.raises(EmbeddingError):
        memory.insert("text", vector=vector)
    assert memory.records() == []


class Torn(HashingEmbedder):
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return super().embed(texts)[:, :10]


def test_an_embedder_that_breaks_its_word_stores_nothing(
    open_memory: Any, memory: VectorMemory
) -> None:
    memory.insert("Green tea")
    memory.close()
    torn = open_memory(embedder=Torn(64))
    for call in (lambda: torn.search("tea"), torn.reindex, lambda: torn.insert("Black tea")):
        with pytest.raises(EmbeddingError, match="expected"):
            call()
    assert torn.journal.query("SELECT DISTINCT model FROM vector") == [("hashing-256",)]


def test_another_embedder_embeds_everything_anew(open_memory: Any, memory: VectorMemory) -> None:
    memory.insert_many([Draft(text=f"note {i} of many") for i in range(600)])
    memory.close()
    seen: list[tuple[int, int]] = []
    other = open_memory(embedder=HashingEmbedder(64))
    assert other.reindex(lambda done, total: seen.append((done, total))) == 600
    assert seen[-1] == (600, 600)
    assert other.search("note 17 of many").hits[0].record.text == "note 17 of many"
    models = other.journal.query("SELECT DISTINCT model FROM vector")
    assert models == [("hashing-64",)]


def test_a_reader_may_search_and_must_not_write(open_memory: Any, memory: VectorMemory) -> None:
    memory.insert("Green tea")
    reader = open_memory(read_only=True)
    assert reader.search("tea").hits
    with pytest.raises(StoreReadOnlyError):
        reader.insert("more")


def test_a_reader_sees_what_another_object_has_just_committed(
    open_memory: Any,
    memory: VectorMemory,
) -> None:
    other = open_memory()
    assert other.search("tea").hits == ()
    memory.insert("Green tea")
    assert len(other.search("tea").hits) == 1


def test_results_are_json_values(memory: VectorMemory, tmp_path: Path) -> None:
    from agentevo_memory.operations.search import describe

    memory.insert("Green tea")
    json.dumps(describe(memory.search("tea").hits[0]), allow_nan=False)
