"""Generations are known by their content; the log of what was served cannot be rewritten."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.generations import Generation, GenerationLog, MemoryPosition
from agentevo.generations.log import GenerationError

FIRST = Generation("base")
SECOND = Generation("base", "adapter", MemoryPosition(7, "ab"), {"recipe": "default"})


@pytest.fixture
def log(tmp_path: Path) -> GenerationLog:
    log = GenerationLog(tmp_path / "generations.sqlite")
    log.create(FIRST, parent=None)
    log.create(SECOND, parent=FIRST.id, evidence={"gain": 0.3})
    return log


def test_a_generation_is_read_back_whole(log: GenerationLog) -> None:
    assert log.get(SECOND.id[:5]) == SECOND
    assert log.parent(SECOND.id) == FIRST.id


def test_the_same_content_is_the_same_generation(log: GenerationLog) -> None:
    assert log.create(Generation("base"), parent=SECOND.id) == FIRST.id
    assert len(log.ids()) == 2


@given(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["a", "b", None]))
def test_different_content_is_a_different_generation(one: int, two: int, adapter: str) -> None:
    first = Generation("base", adapter, MemoryPosition(one))
    second = Generation("base", adapter, MemoryPosition(two))
    assert (first.id == second.id) == (one == two)
    assert ("memory" in first.differences(second)) == (one != two)


def test_what_was_served_before_can_be_served_again(log: GenerationLog) -> None:
    log.serve(FIRST.id, reason="start")
    log.serve(SECOND.id, reason="gate", verdict={"decision": "accepted"})
    assert (log.served_at, log.previous_id) == (SECOND.memory, FIRST.id)
    log.serve(FIRST.id, reason="rolled back", at=MemoryPosition(9, "cd"))
    assert (log.served_id, log.served_at) == (FIRST.id, MemoryPosition(9, "cd"))
    assert log.previous_id == SECOND.id
    assert len(log.entries("served")) == 3


def test_there_is_nothing_before_the_first_generation(log: GenerationLog) -> None:
    log.serve(FIRST.id, reason="start")
    with pytest.raises(GenerationError, match="no other generation was ever served"):
        _ = log.previous_id


def test_tags_name_generations_and_move(log: GenerationLog) -> None:
    log.tag(FIRST.id, "champion")
    log.tag(SECOND.id, "champion")
    assert log.resolve("champion") == SECOND.id


@pytest.mark.parametrize("tag", ["", "abc", "123"])
def test_a_tag_that_looks_like_an_id_is_refused(log: GenerationLog, tag: str) -> None:
    with pytest.raises(GenerationError, match="no tag"):
        log.tag(FIRST.id, tag)


def test_an_unknown_name_lists_what_exists(log: GenerationLog) -> None:
    with pytest.raises(GenerationError, match=f"'nope' names 0 generations; known: {FIRST.id}"):
        log.get("nope")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda db: db.execute("UPDATE entry SET content = replace(content, '0.3', '0.9')"),
        lambda db: db.execute("DELETE FROM entry WHERE seq = 1"),
        lambda db: db.execute("UPDATE entry SET time = time + 1 WHERE seq = 2"),
        lambda db: db.execute("UPDATE entry SET kind = 'served' WHERE seq = 2"),
    ],
)
def test_a_rewritten_log_is_found(
    log: GenerationLog, tamper: Callable[[sqlite3.Connection], object]
) -> None:
    log.verify()
    with sqlite3.connect(log.path) as database:
        tamper(database)
    database.close()
    with pytest.raises(GenerationError, match="was changed or removed"):
        log.verify()


def test_a_refused_generation_is_never_served(log: GenerationLog) -> None:
    log.serve(FIRST.id, reason="start")
    log.refuse(SECOND.id, {"decision": "refused"})
    with pytest.raises(GenerationError, match="refused by the gate"):
        log.serve(SECOND.id, reason="by hand")
    assert log.served_id == FIRST.id
