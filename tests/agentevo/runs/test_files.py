"""The files of a run: whole events, one holder, settings that read back, reports never torn."""

import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from agentevo.config import Settings
from agentevo.errors import RunError, RunInUseError
from agentevo.events import Event, make_event
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.directory import RunDirectory, create_run, open_run
from agentevo.runs.event_log import EventLog, read_events
from agentevo.runs.lock import RunLock, is_held
from agentevo.runs.report import EpisodeResult, RunReport


@given(st.lists(st.text(max_size=20), max_size=5), st.integers(0, 400))
def test_a_torn_last_line_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    with EventLog(path) as log:
        for text in texts:
            log.append(make_event("x", "r", {"text": text}))
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    with EventLog(path) as log:
        log.append(make_event("last", "r", {}))
    events = list(read_events(path))
    assert events[-1]["type"] == "agentevo.last"
    assert [event["data"]["text"] for event in events[:-1]] == texts[: len(events) - 1]


def test_events_of_many_threads_are_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    told: list[Event] = []
    with EventLog(path, told.append) as log, ThreadPoolExecutor(8) as pool:
        events = [make_event("x", "r", {"i": i, "text": "é" * i}) for i in range(200)]
        list(pool.map(log.append, events))
    assert list(read_events(path)) == told
    assert sorted(event["data"]["i"] for event in told) == list(range(200))


def test_a_full_disk_is_a_run_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run-1" / "events.jsonl"
    path.parent.mkdir()
    path.symlink_to("/dev/full")
    with EventLog(path) as log, pytest.raises(RunError, match=r"No space left.*resume run-1"):
        log.append(make_event("x", "r", {}))


def _hold(path: Path, ready: "multiprocessing.synchronize.Event") -> None:
    with RunLock(path):
        ready.set()
        ready.wait()
        os.kill(os.getpid(), 9)


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, ready = tmp_path / "lock", context.Event()
    process = context.Process(target=_hold, args=(held, ready))
    with RunLock(held), pytest.raises(RunInUseError, match=str(os.getpid())), RunLock(held):
        pass
    process.start()
    process.join(30)
    assert process.exitcode == -9
    assert not is_held(held)
    with RunLock(held):
        assert is_held(held)


def test_settings_read_back_from_the_run(settings: Settings) -> None:
    directory = create_run(settings)
    assert directory.settings() == settings
    assert "# python" in directory.config.read_text().splitlines()[0]


def test_an_unknown_run_names_the_nearest(settings: Settings) -> None:
    directory = create_run(settings)
    with pytest.raises(RunError, match=directory.id):
        open_run(settings.home, directory.id[:-1])
    with pytest.raises(RunError, match=r"there is no run '\.\./x'"):
        open_run(settings.home, "../x")


def test_a_home_that_cannot_be_written_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(RunError, match="choose another folder with --home"):
        create_run(Settings.model_validate({"home": tmp_path / "home"}))


def test_a_report_is_replaced_whole(directory: RunDirectory) -> None:
    for count in (1, 2):
        directory.write_report(RunReport(directory.id, "stopped", "code", "m", count))
    report = directory.read_report()
    assert report is not None
    assert report.total == 2
    assert [path.name for path in directory.path.glob(".*")] == []


def test_the_first_outcome_of_an_episode_stays(tmp_path: Path) -> None:
    with open_checkpoints(tmp_path / "c.sqlite") as saver:
        ledger = Ledger(saver)
        assert ledger.record(EpisodeResult("e", "t", True, 1.0))
        assert not ledger.record(EpisodeResult("e", "t", False, 0.0))
        assert ledger.outcomes()["e"].solved


def test_the_database_is_opened_safely(tmp_path: Path) -> None:
    with open_checkpoints(tmp_path / "c.sqlite", synchronous="NORMAL") as saver:
        pragmas = {
            name: saver.conn.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "busy_timeout": 30000}


def test_checkpoints_rebuild_messages_and_nothing_else(tmp_path: Path) -> None:
    with open_checkpoints(tmp_path / "c.sqlite") as saver:
        message = AIMessage("hi")
        assert saver.serde.loads_typed(saver.serde.dumps_typed(message)) == message
        foreign = saver.serde.dumps_typed(Settings())
        assert not isinstance(saver.serde.loads_typed(foreign), Settings)


def test_a_failed_write_stops_the_saver(tmp_path: Path) -> None:
    with open_checkpoints(tmp_path / "c.sqlite") as saver:
        ledger = Ledger(saver)
        pages = saver.conn.execute("PRAGMA page_count").fetchone()[0]
        saver.conn.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            ledger.remember("much", "x" * 100_000)
        with pytest.raises(sqlite3.OperationalError, match="after an earlier failure"):
            ledger.remember("more", 1)


def test_a_damaged_database_is_a_run_error(directory: RunDirectory) -> None:
    directory.checkpoints.write_bytes(b"not a database, but long enough to be read as one" * 50)
    with (
        pytest.raises(RunError, match=r"not a database.*agentevo resume"),
        open_checkpoints(directory.checkpoints),
    ):
        pass
