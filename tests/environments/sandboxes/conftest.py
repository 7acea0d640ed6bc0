"""What the sandbox tests share: counting what a sandbox leaves on this machine."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def below(root: int) -> set[int]:
    """Return the processes that descend from a process, by their parents' ids."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def control_groups_of(processes: set[int]) -> list[Path]:
    """Return the control groups that one of the processes made."""
    pattern = re.compile(r"agentevo-(\d+)-\d+")
    found = []
    for folder, folders, _ in os.walk(CONTROL_GROUPS):
        for name in folders:
            match = pattern.fullmatch(name)
            if match and int(match[1]) in processes:
                found.append(Path(folder, name))
    return found


def alive(processes: set[int]) -> set[int]:
    """Return those that still run; one that has ended and waits for init to notice does not."""
    found = set()
    for pid in processes:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(pid)
    return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[EmbeddedSandbox]:
    with EmbeddedSandbox() as started:
        yield started


@pytest.fixture
def survey() -> Callable[[int], set[int]]:
    return below


@pytest.fixture
def leftovers() -> Callable[[set[int]], list[object]]:
    """Return what remains of a set of processes: those alive and their control groups."""

    def look(processes: set[int]) -> list[object]:
        return [*alive(processes), *control_groups_of(processes)]

    return look
