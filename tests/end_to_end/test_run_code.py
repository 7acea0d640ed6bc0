"""The real graph, the real sandbox, the real command: code tasks, and what happens on SIGKILL.

`AGENTEVO_KILLS` sets how many runs are killed (default 5); with `AGENTEVO_KILL_TASKS` they run over
that task file instead of the tasks that ship with the package.
"""

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.runs.checkpoints import read_ledger
from agentevo.runtime import aresume, arun, load_report, resume, run

_SET_CHILD_SUBREAPER = 36
_SHARED = Path(os.environ.get("AGENTEVO_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
_KILLS = int(os.environ.get("AGENTEVO_KILLS", "5"))
_KILL_TASKS = os.environ.get("AGENTEVO_KILL_TASKS", "")


def settings(home: Path, **sections: Any) -> Settings:
    given = {"home": home, "run": {"concurrency": 2}, **sections}
    return Settings.model_validate(given)


def command(home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    scratch = home / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "agentevo", "--home", str(home), *arguments, "--quiet", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )


def run_arguments() -> list[str]:
    tasks = ["--tasks", _KILL_TASKS] if _KILL_TASKS else []
    return ["run", "--env", "code", "--model", "scripted:oracle", "--concurrency", "2", *tasks]


@pytest.fixture
def orphans() -> Iterator[Any]:
    """Yield a function that returns the living orphans of this process, which adopts them."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield children
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children() -> list[int]:
    """Return the living child processes of this one that were not there before the test."""
    me, found = os.getpid(), []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == me and state != "Z":
            found.append(int(status.parent.name))
    return [process for process in found if process not in _present]


_present: set[int] = set()


@pytest.fixture(autouse=True)
def _note_what_is_there() -> None:
    """Leave out what other tests hold for the whole session, such as a Docker daemon."""
    _present.clear()
    _present.update(children())


def test_the_oracle_solves_the_shipped_tasks_and_the_decoy_none(tmp_path: Path) -> None:
    solved = run(settings(tmp_path))
    assert (solved.status, solved.solved) == ("finished", solved.total)
    assert solved.containment is not None
    assert solved.containment["backend"] == "embedded"
    wrong = run(settings(tmp_path, model={"spec": "scripted:wrong"}))
    assert (wrong.solved, len(wrong.episodes), wrong.failed) == (0, wrong.total, 0)


@pytest.mark.slow
def test_the_oracle_solves_all_of_humaneval_and_the_decoy_none(tmp_path: Path) -> None:
    tasks = _SHARED / "HumanEval.jsonl.gz"
    if not tasks.exists():
        pytest.skip("HumanEval is not here; set AGENTEVO_SHARED_DATA")
    solved = run(settings(tmp_path, env={"tasks": tasks}))
    assert (solved.solved, solved.total) == (164, 164)
    wrong = run(settings(tmp_path, env={"tasks": tasks}, model={"spec": "scripted:wrong"}))
    assert (wrong.solved, wrong.total) == (0, 164)


def test_a_run_can_be_reproduced_from_its_directory(tmp_path: Path) -> None:
    first = run(settings(tmp_path, env={"n": 3}))
    again = run(Settings.model_validate(first.settings))
    assert [(e.task_id, e.score) for e in again.episodes] == [
        (e.task_id, e.score) for e in first.episodes
    ]
    assert load_report(tmp_path, again.id) == again
    assert resume(tmp_path, again.id) == again


def test_a_sandbox_that_is_killed_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    before, finished = set(children()), 0

    def kill_at_the_third(event: Any) -> None:
        nonlocal finished
        finished += event["type"] == "agentevo.episode_finished"
        if finished == 3:
            finished += 1
            for process in set(children()) - before:
                os.kill(process, signal.SIGKILL)

    report = run(settings(tmp_path), on_event=kill_at_the_third)
    assert [e.failure for e in report.episodes if e.failure] == []
    assert report.solved == report.total
    assert max(episode.attempts for episode in report.episodes) == 2


async def test_a_cancelled_run_is_resumable(tmp_path: Path) -> None:
    import asyncio

    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def listen(event: Any) -> None:
        loop.call_soon_threadsafe(started.set)

    task = asyncio.create_task(arun(settings(tmp_path), on_event=listen))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (directory,) = (tmp_path / "runs").iterdir()
    assert load_report(tmp_path, directory.name).status == "stopped"
    report = await aresume(tmp_path, directory.name)
    assert (report.status, report.solved) == ("finished", report.total)


@pytest.mark.slow
def test_ctrl_c_drains_and_exits_as_resumable(tmp_path: Path, orphans: Any) -> None:
    process = command(tmp_path, *run_arguments())
    wait_for_events(tmp_path, 5)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 3, error.decode()
    assert json.loads(out)["data"]["status"] == "stopped"
    finish_and_check(tmp_path, orphans)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(_KILLS))
def test_a_killed_run_resumes_and_grades_every_task_once(
    tmp_path: Path, orphans: Any, seed: int
) -> None:
    mounts = mount_points(tmp_path)
    process = command(tmp_path, *run_arguments())
    wait_for_events(tmp_path, 1)
    delay_s = 12.0 if _KILL_TASKS else 2.0
    time.sleep(random.Random(seed).uniform(0.0, delay_s))
    process.kill()
    process.communicate()
    time.sleep(1.0)
    assert orphans() == []
    assert list((tmp_path / "scratch").iterdir()) == []
    finish_and_check(tmp_path, orphans)
    assert mount_points(tmp_path) == mounts


def mount_points(home: Path) -> set[str]:
    """Return where something is mounted, without what other tests mount meanwhile."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines if "docker" not in line]
    others = Path(tempfile.gettempdir())
    return {str(p) for p in points if p.is_relative_to(home) or not p.is_relative_to(others)}


def wait_for_events(home: Path, lines: int) -> None:
    """Wait until a run has written so many events."""
    for _ in range(3000):
        for events in (home / "runs").glob("*/events.jsonl"):
            if events.read_bytes().count(b"\n") >= lines:
                return
        time.sleep(0.01)
    raise AssertionError("the run wrote no events")


def finish_and_check(home: Path, orphans: Any) -> None:
    """Resume the only run under `home` and check that all is done once and nothing is left."""
    resumed = command(home, "resume", "last")
    out, error = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, (out[:2000] + error).decode()
    report = json.loads(out)["data"]
    graded = [episode["task_id"] for episode in report["episodes"]]
    assert report["solved"] == report["total"] == len(set(graded)) == len(graded)
    directory = home / "runs" / report["id"]
    with read_ledger(directory / "checkpoints.sqlite") as ledger:
        assert len(ledger.outcomes()) == report["total"]
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    told = Counter(e["episode_id"] for e in events if e["type"] == "agentevo.episode_finished")
    assert set(told.values()) == {1}
    time.sleep(1.0)
    assert orphans() == []
    assert list((home / "scratch").iterdir()) == []
