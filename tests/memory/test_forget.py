from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import (
    Draft,
    Feedback,
    Policy,
    Provenance,
    RecordError,
    Taint,
    UnknownRecordError,
    VectorMemory,
)
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.retention import DAY_S


def statuses(memory: VectorMemory) -> dict[str, str]:
    return {record.text: record.status for record in memory.records()}


def fill(memory: VectorMemory, clock: Any, count: int = 4) -> list[str]:
    ids = []
    for number in range(count):
        clock.now += 10
        ids.append(memory.insert(f"note number {number}").id)
    return ids


def test_decay_takes_what_has_faded_and_undo_brings_it_back(
    memory: VectorMemory, clock: Any
) -> None:
    ids = fill(memory, clock, 3)
    clock.now += 60 * DAY_S
    memory.feedback(Feedback(ids=(ids[1],), helped=True))
    clock.now += 30 * DAY_S
    plan = memory.forget(Policy(name="decay", below=0.3), dry_run=True)
    assert [each for each, _ in plan.forgotten] == [ids[0], ids[2]]
    assert set(statuses(memory).values()) == {"active"}
    done = memory.forget(Policy(name="decay", below=0.3))
    assert done.forgotten == plan.forgotten
    assert memory.search("note number 0").ids == (ids[1],)
    assert memory.undo(done.operation).restored == (ids[2], ids[0])
    assert set(statuses(memory).values()) == {"active"}


def test_recall_alone_does_not_change_a_record(memory: VectorMemory, clock: Any) -> None:
    ids = fill(memory, clock, 1)
    before = memory.get(ids[0])
    memory.search("note number 0")
    assert memory.get(ids[0]) == before


@pytest.mark.parametrize(("name", "gone"), [("fifo", [0, 1]), ("lru", [1, 2])])
def test_limits_take_the_oldest_or_the_longest_unused(
    memory: VectorMemory,
    clock: Any,
    name: str,
    gone: list[int],
) -> None:
    ids = fill(memory, clock)
    clock.now += 100
    memory.feedback(Feedback(ids=(ids[0],), helped=True))
    done = memory.forget(Policy(name=name, keep=2))  # type: ignore[arg-type]
    assert [each for each, _ in done.forgotten] == [ids[i] for i in gone]


def test_capacity_keeps_what_helps(memory: VectorMemory, clock: Any) -> None:
    ids = fill(memory, clock)
    for helped in (True, True, True):
        memory.feedback(Feedback(ids=(ids[0],), helped=helped))
    memory.forget(Policy(name="capacity", keep=1))
    assert memory.get(ids[0]).status == "active"


def test_utility_takes_what_did_more_harm_than_good(memory: VectorMemory, clock: Any) -> None:
    ids = fill(memory, clock, 2)
    for _ in range(4):
        memory.feedback(Feedback(ids=(ids[0],), helped=False))
        memory.feedback(Feedback(ids=(ids[1],), helped=True))
    done = memory.forget(Policy(name="utility", below=0.3))
    assert [each for each, _ in done.forgotten] == [ids[0]]


def test_ttl_hides_at_once_and_forgets_on_request(memory: VectorMemory, clock: Any) -> None:
    record = memory.insert(Draft(text="The meeting is in room 5", ttl_s=60)).id
    clock.now += 61
    assert memory.search("meeting room").hits == ()
    assert memory.forget(Policy(name="ttl")).forgotten[0][0] == record


def test_contradiction_closes_the_weaker_of_two(memory: VectorMemory, clock: Any) -> None:
    old = memory.insert("The cache is safe").id
    clock.now += 10
    new = memory.insert("The cache is not safe").id
    done = memory.forget(Policy(name="contradiction"))
    assert done.forgotten == ((old, f"contradicted by {new}"),)
    assert memory.get(old).valid_to == clock.now


def test_drift_takes_what_was_learnt_before_the_change(memory: VectorMemory, clock: Any) -> None:
    memory.insert(Draft(text="old way", scope="w1"))
    memory.insert(Draft(text="elsewhere", scope="w2"))
    clock.now += 10
    changed_at = clock.now
    memory.insert(Draft(text="new way", scope="w1"))
    memory.forget(Policy(name="drift", scope="w1", before=changed_at))
    assert statuses(memory) == {"old way": "dormant", "elsewhere": "active", "new way": "active"}
    with pytest.raises(RecordError, match="scope that has changed"):
        memory.forget(Policy(name="drift"))


def test_pinned_records_and_last_supports_are_spared(memory: VectorMemory, clock: Any) -> None:
    ids = fill(memory, clock, 3)
    memory.pin(ids[0])
    support = Provenance(origin="user", parents=(ids[1],))
    memory.insert(Draft(text="Count twice", kind="rule", provenance=support))
    done = memory.forget(Policy(name="fifo", keep=0, kinds=("fact",)))
    assert set(done.spared) == {ids[0], ids[1]}
    assert [each for each, _ in done.forgotten] == [ids[2]]


@pytest.mark.parametrize(
    "fields", [{"name": "burn"}, {"keep": -1}, {"below": 2}, {"kinds": ("x",)}]
)
def test_bad_policies_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        Policy(**{"name": "fifo", **fields})  # type: ignore[arg-type]


def test_erase_leaves_no_byte_of_the_text_and_keeps_a_receipt(memory: VectorMemory) -> None:
    secret = "xylophone-zebra-4711"
    first = memory.insert(f"The password is {secret}").id
    memory.insert(f"the password is {secret}.")
    derived = memory.insert(
        Draft(text=f"Use {secret} to log in", provenance=Provenance(parents=(first,)))
    ).id
    kept = memory.insert("Nothing to see here").id
    memory.feedback(Feedback(ids=(first,), helped=True))
    memory.search("password")
    receipt = memory.erase([first], actor="a person")
    assert (receipt.ids, receipt.derived, receipt.complete) == ((first,), (derived,), True)
    for file in memory.journal.folder.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()
    assert memory.verify().intact
    assert memory.get(first).status == "erased"
    assert memory.search("password log in").hits == ()
    assert memory.search("nothing here").ids == (kept,)
    with pytest.raises(RecordError, match="erasure"):
        memory.undo(receipt.operation)
    assert memory.erase([first]).events == 0


def test_an_erasure_that_a_reader_delays_is_completed_later(
    memory: VectorMemory, open_memory: Any
) -> None:
    secret = "marmalade-0815"
    record = memory.insert(f"The code is {secret}").id
    import sqlite3

    reader = sqlite3.connect(memory.journal.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM record").fetchone()
    memory.journal.query("PRAGMA busy_timeout=50")
    assert not memory.erase([record]).complete
    reader.close()
    memory.close()
    again = open_memory()
    for file in again.journal.folder.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


def test_revoke_takes_the_closure_and_a_second_time_nothing(
    memory: VectorMemory, from_tool: Any
) -> None:
    page = memory.insert(from_tool("A page about cats")).id
    note = memory.insert(
        Draft(text="Cats sleep a lot", provenance=Provenance(origin="model", parents=(page,)))
    ).id
    other = memory.insert("Dogs bark").id
    taint = Taint("origin", "tool:browser")
    assert memory.revoke(taint, dry_run=True).quarantined == (page, note)
    done = memory.revoke(taint)
    assert done.quarantined == (page, note)
    assert memory.search("cats sleep").hits == ()
    assert memory.get(other).status == "active"
    again = memory.revoke(taint)
    assert (again.quarantined, again.already, again.operation) == ((), (page, note), 0)
    memory.undo(done.operation)
    assert len(memory.search("cats sleep").hits) == 2


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_revoke_equals_a_brute_force_closure(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 14))
    parents = [
        data.draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(count)
    ]
    root = data.draw(st.integers(0, count - 1))
    with VectorMemory(
        tmp_path_factory.mktemp("graph"), embedder=HashingEmbedder(), index="exact"
    ) as memory:
        ids: list[str] = []
        for number, above in enumerate(parents):
            origin = Provenance(parents=tuple(ids[i] for i in sorted(above)))
            ids.append(memory.insert(Draft(text=f"node {number}", provenance=origin)).id)
        expected = {root}
        for number in range(count):
            if parents[number] & expected:
                expected.add(number)
        done = memory.revoke(Taint("record", ids[root]))
        assert set(done.quarantined) == {ids[i] for i in expected}


def test_undo_of_an_insert_withdraws_and_refuses_when_later_changes_stand_in_the_way(
    memory: VectorMemory,
) -> None:
    first = memory.insert("Green tea")
    assert memory.undo(first.operation).withdrawn == (first.id,)
    assert memory.search("green tea").hits == ()
    second = memory.insert(Draft(text="v1", key="k"))
    third = memory.insert(Draft(text="v2", key="k"))
    memory.set_status([second.id], "dormant", reason="later")
    with pytest.raises(RecordError, match="undo the later operations first"):
        memory.undo(third.operation)
    with pytest.raises(UnknownRecordError):
        memory.undo(9_999)
