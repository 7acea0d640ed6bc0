"""A branch changes freely, and its store takes over all of it or nothing."""

from pathlib import Path

import pytest

from agentevo_memory import Draft, VectorMemory
from agentevo_memory.branch import BranchError, fork, position, take_over


def insert(folder: Path, *texts: str) -> list[str]:
    with VectorMemory(folder, embedder="hashing") as memory:
        return [memory.insert(Draft(text=text, kind="rule")).id for text in texts]


def texts(folder: Path) -> list[str]:
    with VectorMemory(folder, embedder="hashing") as memory:
        return [record.text for record in memory.records()]


def test_a_store_takes_over_its_branch_whole_and_once(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    first = insert(store, "the sky is blue")[0]
    assert fork(store, branch) == position(store) == position(branch)
    with VectorMemory(branch, embedder="hashing") as memory:
        memory.promote(first, verifier="replay")
        added = memory.insert(Draft(text="grass is green", kind="rule"), idempotency_key="g").id
    assert texts(store) == ["the sky is blue"]
    assert take_over(store, branch) > 0
    assert take_over(store, branch) == 0
    assert position(store) == position(branch)
    with VectorMemory(store, embedder="hashing") as memory:
        assert memory.verify().intact
        assert memory.get(first).verified_by == "replay"
        assert {hit.record.id for hit in memory.search("green grass").hits} >= {added}
        repeated = memory.insert(Draft(text="grass is green", kind="rule"), idempotency_key="g")
        assert repeated.id == added


def test_a_reader_that_is_open_sees_what_was_taken_over(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    insert(store, "the sky is blue")
    fork(store, branch)
    insert(branch, "grass is green")
    with VectorMemory(store, embedder="hashing") as reader:
        assert "grass is green" not in {hit.record.text for hit in reader.search("green").hits}
        take_over(store, branch)
        assert "grass is green" in {hit.record.text for hit in reader.search("green").hits}


def test_a_store_that_moved_on_takes_nothing_over(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    insert(store, "the sky is blue")
    fork(store, branch)
    insert(branch, "grass is green")
    insert(store, "snow is white")
    with pytest.raises(BranchError, match="make a new branch"):
        take_over(store, branch)
    assert texts(store) == ["the sky is blue", "snow is white"]


def test_a_branch_of_an_empty_store_starts_its_history(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    assert fork(store, branch) == (0, "")
    insert(branch, "grass is green")
    take_over(store, branch)
    assert texts(store) == ["grass is green"]


def test_an_erasure_is_never_taken_over(tmp_path: Path) -> None:
    store, branch = tmp_path / "store", tmp_path / "branch"
    first = insert(store, "the sky is blue")[0]
    fork(store, branch)
    with VectorMemory(branch, embedder="hashing") as memory:
        memory.erase([first])
    with pytest.raises(BranchError, match="erase"):
        take_over(store, branch)
    assert texts(store) == ["the sky is blue"]
