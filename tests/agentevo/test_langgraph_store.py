"""Side by side with LangGraph's InMemoryStore: every operation gives the same answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from agentevo.langgraph_store import AgentevoStore
from agentevo_memory import VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder


def embed(texts: list[str]) -> list[list[float]]:
    return [row.tolist() for row in HashingEmbedder().embed(texts)]


def reference(**index: Any) -> InMemoryStore:
    config: Any = {"dims": 256, "embed": embed, **index}
    return InMemoryStore(index=config)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[VectorMemory]:
    with VectorMemory(tmp_path / "store", embedder=HashingEmbedder(), index="exact") as opened:
        yield opened


@pytest.fixture
def store(memory: VectorMemory) -> AgentevoStore:
    return AgentevoStore(memory)


def plain(result: Any) -> Any:
    """Return a result without times, floats rounded."""
    if isinstance(result, list):
        return [plain(each) for each in result]
    if result is None or isinstance(result, tuple):
        return result
    score = getattr(result, "score", None)
    rounded = None if score is None else round(score, 4)
    return (tuple(result.namespace), result.key, result.value, rounded)


def both(store: AgentevoStore, other: BaseStore, operations: list[Any]) -> None:
    for operation in operations:
        mine, theirs = store.batch([operation])[0], other.batch([operation])[0]
        if isinstance(operation, SearchOp) and not operation.query:
            mine, theirs = (sorted(plain(each), key=str) for each in (mine, theirs))
            assert mine == theirs, operation
        else:
            assert plain(mine) == plain(theirs), operation


SPACES = [("a",), ("a", "b"), ("a", "c"), ("d", "b")]
CONTENT: list[Any] = [
    PutOp(("a", "b"), "k1", {"text": "green tea in the morning", "n": 1, "deep": {"x": [1, 2]}}),
    PutOp(("a", "b"), "k2", {"text": "black coffee at night", "n": 2, "deep": {"x": [3]}}),
    PutOp(("a", "c"), "k1", {"text": "a train to the station", "n": 3.5, "tags": ["x", "y"]}),
    PutOp(("d", "b"), "k3", {"text": "rain", "n": 0}),
]


@pytest.mark.parametrize(
    "operation",
    [
        GetOp(("a", "b"), "k1"),
        GetOp(("a", "b"), "missing"),
        GetOp(("a",), "k1"),
        SearchOp(("a",), limit=10),
        SearchOp((), limit=10),
        SearchOp(("a",), query="coffee", limit=10),
        SearchOp(("a",), query="coffee", limit=1, offset=1),
        SearchOp(("a",), query="coffee", limit=10, offset=2),
        SearchOp(("a",), filter={"n": 2}),
        SearchOp(("a",), filter={"n": {"$eq": 2}}),
        SearchOp(("a",), filter={"n": {"$ne": 2}}),
        SearchOp((), filter={"n": {"$gt": 1}}),
        SearchOp((), filter={"n": {"$gte": 2, "$lt": 3.5}}),
        SearchOp((), filter={"n": {"$lte": 1}}),
        SearchOp((), filter={"deep": {"x": [1, 2]}}),
        SearchOp((), filter={"tags": ["x", "y"]}),
        SearchOp((), filter={"text": "rain"}, query="rain"),
        SearchOp(("nothing",)),
        ListNamespacesOp(),
        ListNamespacesOp(max_depth=1),
        ListNamespacesOp(match_conditions=(MatchCondition("prefix", ("a",)),)),
        ListNamespacesOp(match_conditions=(MatchCondition("suffix", ("b",)),)),
        ListNamespacesOp(match_conditions=(MatchCondition("prefix", ("*", "b")),)),
        ListNamespacesOp(limit=1, offset=1),
    ],
)
def test_every_operation_answers_like_the_reference(store: AgentevoStore, operation: Any) -> None:
    both(store, reference(), [*CONTENT, operation])


values = st.fixed_dictionaries({"n": st.integers(0, 3), "text": st.sampled_from(["tea", "rain"])})
spaces, keys = st.sampled_from(SPACES), st.sampled_from("xy")
operations = st.one_of(
    st.tuples(spaces, keys, st.none() | values).map(lambda each: PutOp(*each)),
    st.tuples(spaces, keys).map(lambda each: GetOp(*each)),
    st.tuples(
        st.sampled_from([(), ("a",), ("a", "b")]),
        st.none() | st.fixed_dictionaries({"n": st.integers(0, 3)}),
    ).map(lambda each: SearchOp(each[0], filter=each[1], limit=50)),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations, max_size=12))
def test_any_sequence_of_operations_answers_like_the_reference(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact") as memory:
        both(AgentevoStore(memory), reference(), steps)


def test_created_at_survives_updates_and_values_are_copies(store: AgentevoStore) -> None:
    value = {"nested": {"list": [1]}}
    store.put(("n",), "k", value)
    first = store.get(("n",), "k")
    assert first is not None
    value["nested"]["list"].append(2)
    first.value["nested"]["list"].append(3)
    store.put(("n",), "k", {"nested": {"list": [9]}})
    again = store.get(("n",), "k")
    assert again is not None
    assert again.created_at == first.created_at
    assert again.updated_at >= first.updated_at
    assert again.value == {"nested": {"list": [9]}}


def test_every_page_of_a_query_is_full(store: AgentevoStore) -> None:
    for number in range(25):
        store.put(("p",), f"k{number}", {"text": f"tea number {number}"})
    keys = [
        item.key
        for offset in range(0, 25, 5)
        for item in store.search(("p",), query="tea", limit=5, offset=offset)
    ]
    assert len(keys) == len(set(keys)) == 25


def test_index_paths_say_what_is_embedded(memory: VectorMemory) -> None:
    value = {"title": "tea", "lines": [{"t": "rain"}, {"t": "coffee"}], "hidden": "train"}
    for index in (["title", "lines[*].t"], ["title"], False):
        store, other = (
            AgentevoStore(memory, index={"fields": ["hidden"]}),
            reference(fields=["hidden"]),
        )
        for each in (store, other):
            each.put(("i",), "k", value, index=index)
        both(store, other, [SearchOp(("i",), query=text) for text in ("coffee", "tea", "train")])


def test_items_expire_and_reading_keeps_them_alive(tmp_path: Path) -> None:
    now = [1_000.0]
    with VectorMemory(
        tmp_path, embedder=HashingEmbedder(), index="exact", clock=lambda: now[0]
    ) as m:
        store = AgentevoStore(m)
        store.put(("t",), "k", {"text": "tea"}, ttl=1)
        store.put(("t",), "l", {"text": "rain"}, ttl=1)
        now[0] += 50
        assert store.get(("t",), "k", refresh_ttl=True) is not None
        now[0] += 50
        assert store.get(("t",), "l") is None
        assert [item.key for item in store.search(("t",))] == ["k"]
        assert store.sweep_ttl() == 1


def test_an_unknown_operator_is_refused_like_in_the_reference(store: AgentevoStore) -> None:
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(ValueError, match=r"\$near"):
        store.search(("a",), filter={"n": {"$near": 1}})


def test_what_was_put_is_seen_by_another_process_and_by_the_memory(
    store: AgentevoStore, memory: VectorMemory
) -> None:
    store.put(("a", "b"), "k", {"text": "tea"})
    with VectorMemory(memory.journal.folder, embedder=HashingEmbedder(), index="exact") as other:
        item = AgentevoStore(other).get(("a", "b"), "k")
    assert item is not None
    assert item.value == {"text": "tea"}
    assert [record.key for record in memory.records()] == ["k"]


async def test_async_operations_work(store: AgentevoStore) -> None:
    await store.aput(("a",), "k", {"text": "tea"})
    assert (await store.aget(("a",), "k")) is not None
    assert len(await store.asearch(("a",), query="tea")) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::langgraph.warnings.LangGraphDeprecationWarning")
def test_langmem_tools_run_on_it_unchanged(store: AgentevoStore) -> None:
    from langmem import create_manage_memory_tool, create_search_memory_tool

    manage = create_manage_memory_tool(namespace=("memories",), store=store)
    search = create_search_memory_tool(namespace=("memories",), store=store)
    answer = manage.invoke({"content": "Alice likes green tea", "action": "create"})
    key = answer.rsplit(" ", 1)[-1]
    assert "green tea" in str(search.invoke({"query": "tea"}))
    manage.invoke({"content": "Alice likes coffee", "action": "update", "id": key})
    assert "coffee" in str(search.invoke({"query": "what does Alice drink"}))
    manage.invoke({"action": "delete", "id": key})
    assert store.search(("memories",)) == []
