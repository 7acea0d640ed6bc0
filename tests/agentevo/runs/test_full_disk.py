"""A disk that is really full: the run says so, and goes on when there is room."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.runs.directory import RunDirectory, create_run
from agentevo.runs.drain import Drain
from agentevo.runs.event_log import read_events
from agentevo.runs.run import RunPlan, carry_out


def resize(disk: Path, size: str) -> None:
    """Give a mounted file system another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 400 kB in memory; skip where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("filler_bytes", [0, 100_000, 200_000])
def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(
    small_disk: Path, settings: Settings, make_plan: Callable[..., RunPlan], filler_bytes: int
) -> None:
    (small_disk / "filler").write_bytes(b"x" * filler_bytes)
    plan = make_plan(settings=settings.model_copy(update={"home": small_disk / "home"}))
    directory = create_run(plan.settings)
    with pytest.raises(RunError, match=rf"make room.*agentevo resume {directory.id}"):
        carry_out(directory, plan)
    resize(small_disk, "50M")
    report: Any = carry_out(directory, plan)
    assert (report.status, report.solved, len(report.episodes)) == ("finished", 10, 10)


def test_events_that_no_longer_fit_stop_the_run_and_none_is_torn_or_lost(
    small_disk: Path, directory: RunDirectory, make_plan: Callable[..., RunPlan]
) -> None:
    drain = Drain()
    carry_out(directory, make_plan(), on_event=lambda event: drain.request("test"), drain=drain)
    log = Path(shutil.move(directory.events, small_disk / "events.jsonl"))
    directory.events.symlink_to(log)
    resize(small_disk, f"{4 * (1 + log.stat().st_size // 4096)}k")
    with pytest.raises(RunError, match=rf"[nN]o space left.*agentevo resume {directory.id}"):
        carry_out(directory, make_plan())
    assert log.read_bytes().endswith(b"\n")
    resize(small_disk, "50M")
    assert carry_out(directory, make_plan()).solved == 10
    told = Counter(
        event["episode_id"]
        for event in read_events(log)
        if event["type"] == "agentevo.episode_finished"
    )
    assert (len(told), set(told.values())) == (10, {1})
