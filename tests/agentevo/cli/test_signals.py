"""Signals and other processes: what a run leaves behind is whole and can be continued."""

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., "subprocess.Popen[str]"]
RUN = ("run", "--env", "echo_world:Echo", "--concurrency", "2", "--json")
LIMIT_S = 120


def wait_until_working(folder: Path, process: "subprocess.Popen[str]") -> str:
    """Return the run id once some episodes are done."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None
        for log in (folder / ".agentevo").rglob("events.jsonl"):
            if log.read_text().count("episode_finished") >= 3:
                return log.parent.name
        time.sleep(0.02)
    raise AssertionError("the run did not start")


def finish(process: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert "Traceback" not in err
    return process.returncode, json.loads(out), err


def resumed(command: Start, run_id: str, home: tuple[str, ...] = ()) -> dict[str, Any]:
    code, document, _ = finish(command(*home, "resume", run_id, "--quiet", "--json"))
    assert code == 0
    data: dict[str, Any] = document["data"]
    return data


@pytest.fixture
def hold(folder: Path) -> Path:
    """Return a file that holds every run after its first three episodes while it exists."""
    path = folder / "hold"
    path.touch()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "home"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ("--home", ".agentevo/another home"))],
)
def test_a_signal_stops_a_run_that_then_resumes_to_its_end(
    number: signal.Signals, home: tuple[str, ...], command: Start, folder: Path, hold: Path
) -> None:
    process = command(*home, *RUN)
    run_id = wait_until_working(folder, process)
    process.send_signal(number)
    time.sleep(0.3)
    hold.unlink()
    code, document, err = finish(process)
    assert (code, document["data"]["status"]) == (3, "stopped")
    assert 3 <= len(document["data"]["episodes"]) < 10
    assert f"next: {shlex.join(['agentevo', *home, 'resume', run_id])}" in err
    data = resumed(command, run_id, home)
    assert (data["solved"], data["total"], len(data["episodes"])) == (10, 10, 10)


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_loses_nothing(
    command: Start, folder: Path, hold: Path
) -> None:
    process = command(*RUN)
    run_id = wait_until_working(folder, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, document, _ = finish(process)
    assert (code, document["status"]) == (3, "error")
    assert "agentevo resume" in document["error"]["hint"]
    hold.unlink()
    assert resumed(command, run_id)["solved"] == 10


@pytest.mark.slow
def test_a_killed_run_is_listed_as_interrupted_and_resumes(
    command: Start, folder: Path, hold: Path
) -> None:
    process = command(*RUN)
    run_id = wait_until_working(folder, process)
    process.kill()
    process.communicate()
    hold.unlink()
    _, document, _ = finish(command("runs", "list", "--json"))
    assert [(r["id"], r["status"]) for r in document["data"]["runs"]] == [(run_id, "interrupted")]
    data = resumed(command, run_id)
    assert (data["solved"], len({e["task_id"] for e in data["episodes"]})) == (10, 10)


@pytest.mark.slow
def test_only_one_of_two_processes_may_resume_a_run(
    command: Start, folder: Path, hold: Path
) -> None:
    process = command(*RUN)
    run_id = wait_until_working(folder, process)
    code, document, _ = finish(command("resume", run_id, "--json"))
    assert (code, document["error"]["type"]) == (1, "RunInUseError")
    assert str(process.pid) in document["error"]["message"]
    hold.unlink()
    code, document, _ = finish(process)
    assert (code, document["data"]["solved"]) == (0, 10)


def test_a_reader_that_goes_away_is_no_error(command: Start) -> None:
    process = command("config", "schema")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=LIMIT_S) in (0, 1)


def test_a_missing_data_folder_that_cannot_be_made_is_named(command: Start, folder: Path) -> None:
    (folder / "file").write_text("")
    code, document, _ = finish(
        command("run", "--env", "echo_world:Echo", "--home", "file", "--json")
    )
    assert code == 1
    assert str(folder / "file") in document["error"]["message"]
    assert "--home" in document["error"]["message"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_on_stdout_is_said(folder: Path) -> None:
    import sys

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agentevo", "config", "schema"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
