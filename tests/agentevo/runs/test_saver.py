"""A step and what it wrote are one transaction; interrupts are stored with all that was done."""

import operator
import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from agentevo.errors import RunError
from agentevo.runs.checkpoints import open_checkpoints


def join(old: list[str], updates: list[list[str]]) -> list[str]:
    """Append every update."""
    return [*old, *(entry for update in updates for entry in update)]


CONFIG: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """A number that each checkpoint repeats, and words that are kept as differences."""

    number: int
    words: Annotated[list[str], DeltaChannel(join, snapshot_frequency=100)]
    done: Annotated[list[str], operator.add]


def chain(saver: SqliteSaver, steps: int, look: Any = lambda: None) -> Any:
    """Return a graph that counts to `steps`, one word each, and calls `look` in every step."""

    def count(state: State) -> State:
        look()
        number = state.get("number", 0) + 1
        return {"number": number, "words": [f"word{number}"]}

    builder = StateGraph(State)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    builder.add_conditional_edges(
        "count", lambda state: "count" if state["number"] < steps else END, ["count", END]
    )
    return builder.compile(checkpointer=saver)


def run_on_a_full_disk(path: Path) -> None:
    """Count on with a database that stores writes, but no checkpoint any more."""
    with open_checkpoints(path) as saver:
        saver.conn.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON main.checkpoints "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
        chain(saver, 6).invoke({"number": 0}, CONFIG, durability="sync")


def channels(path: Path) -> list[str]:
    """Return the channels of the stored writes, as another process sees them."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT channel FROM writes")]
    finally:
        connection.close()


def test_a_step_stores_only_the_writes_that_its_checkpoint_does_not_repeat(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with open_checkpoints(path) as saver:
        chain(saver, 4).invoke({"number": 0}, CONFIG, durability="sync")
    stored = channels(path)
    assert stored.count("words") == 4
    assert stored.count("number") <= 1  # that of the input, which nothing waits for
    with open_checkpoints(path) as saver:
        values = chain(saver, 4).get_state(CONFIG).values
    assert values == {"number": 4, "words": ["word1", "word2", "word3", "word4"], "done": []}


def test_what_a_step_wrote_is_invisible_until_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    seen: list[tuple[int, int]] = []

    def look() -> None:
        connection = sqlite3.connect(path)
        writes = connection.execute("SELECT count(*) FROM writes WHERE channel = 'words'")
        steps = connection.execute(
            "SELECT count(*) FROM checkpoints WHERE json_extract(metadata, '$.step') > 0"
        )
        seen.append((writes.fetchone()[0], steps.fetchone()[0]))
        connection.close()

    with open_checkpoints(path) as saver:
        chain(saver, 5, look).invoke({"number": 0}, CONFIG, durability="sync")
    assert seen == [(step, step) for step in range(5)]


def test_a_checkpoint_that_cannot_be_stored_takes_its_writes_along(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with open_checkpoints(path) as saver:
        chain(saver, 3).invoke({"number": 0}, CONFIG, durability="sync")
    before = channels(path)
    with pytest.raises(RunError, match="full"):
        run_on_a_full_disk(path)
    assert channels(path) == before


def test_an_interrupt_is_stored_with_what_its_siblings_have_done(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    calls: list[str] = []

    def work(state: State) -> State:
        calls.append("work")
        return {"done": ["work"]}

    def ask(state: State) -> State:
        return {"done": [interrupt("go on?")]}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "work")
    builder.add_edge(START, "ask")
    with open_checkpoints(path) as saver:
        builder.compile(checkpointer=saver).invoke({"number": 1}, CONFIG)
    with open_checkpoints(path) as saver:
        values = builder.compile(checkpointer=saver).invoke(Command(resume="yes"), CONFIG)
    assert (sorted(values["done"]), calls) == (["work", "yes"], ["work"])


def test_a_fan_out_that_fails_keeps_what_its_siblings_have_done(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    calls: list[int] = []
    broken = {3}

    def work(state: State) -> State:
        number = state["number"]
        if number in broken:
            time.sleep(0.2)
            raise ValueError("broken")
        calls.append(number)
        return {"done": [f"w{number}"]}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("join", lambda state: {"number": len(state["done"])}, defer=True)
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"number": number}) for number in range(5)], ["work"]
    )
    builder.add_edge("work", "join")
    with open_checkpoints(path) as saver, pytest.raises(ValueError, match="broken"):
        builder.compile(checkpointer=saver).invoke({"number": 1}, CONFIG, durability="sync")
    broken.clear()
    with open_checkpoints(path) as saver:
        values = builder.compile(checkpointer=saver).invoke(None, CONFIG, durability="sync")
    assert (values["number"], sorted(values["done"])) == (5, [f"w{each}" for each in range(5)])
    assert sorted(calls) == [0, 1, 2, 3, 4]
