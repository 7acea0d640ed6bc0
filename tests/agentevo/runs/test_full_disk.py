"""A disk that is really full: the run says so, and goes on when there is room."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.runs.directory import create_run
from agentevo.runs.run import RunPlan, carry_out


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
    remount = ["mount", "-o", "remount,size=50M", str(small_disk)]
    subprocess.run(remount, check=True)
    report: Any = carry_out(directory, plan)
    assert (report.status, report.solved, len(report.episodes)) == ("finished", 10, 10)
