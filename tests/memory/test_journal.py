import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import Draft, Feedback, UnknownRecordError, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import (
    JournalDamagedError,
    SchemaVersionError,
    StoreBusyError,
    StoreReadOnlyError,
)
from agentevo_memory.history import fold, verify
from agentevo_memory.journal import Journal
from agentevo_memory.schema import MIGRATIONS, SCHEMA_VERSION
from agentevo_memory.transfer import salvage


def written(folder: Path) -> Path:
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact") as memory:
        ids = [memory.insert(f"note {number}").id for number in range(8)]
        memory.feedback(Feedback(ids=(ids[2],), helped=True))
    return folder / "journal.db"


def test_the_records_are_the_sum_of_the_events(memory: VectorMemory) -> None:
    first = memory.insert(Draft(text="v1", key="k")).id
    memory.insert(Draft(text="v2", key="k"))
    memory.pin(first)
    assert fold(memory.journal.events()) == memory.records()


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE event SET payload=replace(payload, 'note 3', 'note X') WHERE seq=4",
        "UPDATE event SET time=time-1 WHERE seq=4",
        "UPDATE event SET actor='someone' WHERE seq=4",
        "UPDATE event SET payload=NULL, nonce=NULL WHERE seq=4",
        "DELETE FROM event WHERE seq=4",
        "DELETE FROM event WHERE seq=9",
        "UPDATE event SET seq=100 WHERE seq=4; UPDATE event SET seq=4 WHERE seq=5;"
        "UPDATE event SET seq=5 WHERE seq=100",
    ],
)
def test_every_tampering_is_found_where_it_is(tmp_path: Path, tamper: str) -> None:
    file = written(tmp_path)
    database = sqlite3.connect(file)
    database.executescript(tamper)
    database.close()
    journal = Journal(tmp_path)
    found = journal.verify()
    assert not found.intact
    assert found.damaged_seq == (9 if "seq=9" in tamper else 4)
    assert len(salvage(journal)) == (8 if "seq=9" in tamper else 3)
    journal.close()


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE record SET doc=replace(doc, 'note 3', 'note X')",
        "UPDATE record SET doc='{' WHERE rid=4",
        "UPDATE record SET doc=CAST(x'ff' AS TEXT) WHERE rid=4",
        "DELETE FROM record WHERE rid=4",
    ],
)
def test_a_record_that_is_not_the_sum_of_its_events_is_found_and_saved(
    tmp_path: Path, tamper: str
) -> None:
    file = written(tmp_path)
    database = sqlite3.connect(file)
    database.executescript(tamper)
    database.close()
    journal = Journal(tmp_path)
    found = verify(journal)
    assert found.damaged_seq == 4
    assert "is not what its events up to 4 say" in found.problem
    assert "note 3" in [record.text.removesuffix(".") for record in salvage(journal)]
    journal.close()


def test_what_stands_before_an_unreadable_page_is_saved(tmp_path: Path) -> None:
    with VectorMemory(tmp_path, embedder=HashingEmbedder(), index="exact") as memory:
        for number in range(300):
            memory.insert(Draft(text=f"entry {number} " + "x" * 900, kind="experience"))
    file = tmp_path / "journal.db"
    content = bytearray(file.read_bytes())
    start = content.index(b'{"set": {"text": "entry 150 ') // 4096 * 4096
    content[start : start + 4096] = b"\xff" * 4096
    file.write_bytes(content)
    journal = Journal(tmp_path, read_only=True)
    with pytest.raises(JournalDamagedError, match="export --salvage") as raised:
        verify(journal)
    saved = salvage(journal)
    assert len(saved) == raised.value.seq - 1
    assert 140 < len(saved) < 151
    journal.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.sampled_from(["payload", "op", "record_id", "run_id"]), st.text("ab"))
def test_any_edited_field_is_found(
    tmp_path_factory: pytest.TempPathFactory, seq: int, column: str, value: str
) -> None:
    file = written(tmp_path_factory.mktemp("edited"))
    database = sqlite3.connect(file, isolation_level=None)
    before = database.execute(f"SELECT {column} FROM event WHERE seq=?", (seq,)).fetchone()[0]
    database.execute(f"UPDATE event SET {column}=? WHERE seq=?", (value, seq))
    database.close()
    journal = Journal(file.parent)
    assert journal.verify().damaged_seq == (0 if before == value else seq)
    journal.close()


def test_an_older_schema_is_migrated_and_a_newer_one_refused(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    database.executescript(MIGRATIONS[0])
    database.execute("PRAGMA user_version=1")
    database.close()
    with VectorMemory(tmp_path, embedder=HashingEmbedder(), index="exact") as memory:
        memory.insert("works")
        assert memory.journal.query("PRAGMA user_version")[0][0] == SCHEMA_VERSION
    database = sqlite3.connect(tmp_path / "journal.db")
    database.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(SchemaVersionError, match="update agentevo"):
        Journal(tmp_path)
    with pytest.raises(SchemaVersionError):
        Journal(tmp_path, read_only=True)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"not a database" * 100)
    with pytest.raises(JournalDamagedError, match="restore a copy"):
        Journal(tmp_path)


def test_a_missing_store_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UnknownRecordError, match="creates one"):
        Journal(tmp_path / "nowhere", read_only=True)


def test_a_clock_that_goes_backwards_does_not_turn_time_around(
    memory: VectorMemory, clock: Any
) -> None:
    memory.insert("first")
    clock.now -= 5_000
    memory.insert("second")
    times = [event.time for event in memory.journal.events()]
    assert times == sorted(times)


def test_a_store_locked_by_another_writer_is_busy(memory: VectorMemory) -> None:
    memory.insert("one")
    memory.journal.query("PRAGMA busy_timeout=20")
    other = sqlite3.connect(memory.journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="try again"):
        memory.insert("two")
    other.execute("ROLLBACK")
    other.close()
    memory.insert("two")


def test_a_journal_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    written(tmp_path)
    reader = Journal(tmp_path, read_only=True)
    with pytest.raises(StoreReadOnlyError), reader.transaction("x"):
        pass
    reader.close()
