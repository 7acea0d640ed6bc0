"""Memory: the memory groups of the slots, as the client sets and reads them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevo_environments.errors import LimitsError

MINIMUM_BYTES = 16 << 20
LIMIT_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
EVENTS_BYTES = 4096
EVENT_FILES = {1: "memory.oom_control", 2: "memory.events"}


class MemoryGroups:
    """Limits on all processes of a slot together; does nothing where there are no groups.

    A limit is written only when it changes, and ends of processes at the limit are counted from
    what was counted before. One thread at a time uses a slot.

    Args:
        groups: `version` and `folders`, as the keeper reports them; None without groups.
    """

    def __init__(self, groups: Mapping[str, Any] | None) -> None:
        self.exist = groups is not None
        self._limits: dict[int, tuple[int, int]] = {}
        self._kills: dict[int, int] = {}
        self._events: dict[int, int] = {}
        if groups is not None:
            self._version = int(groups["version"])
            self._folders = {name: Path(place) for name, place in groups["folders"].items()}

    def limit(self, slot: int, memory_bytes: int, processes: int) -> None:
        """Set what the processes of a slot may use together.

        Raises:
            LimitsError: Less memory than the sandbox itself needs.
        """
        if memory_bytes < MINIMUM_BYTES:
            raise LimitsError(
                f"memory_bytes must be at least {MINIMUM_BYTES} in the embedded sandbox,"
                f" not {memory_bytes!r}"
            )
        if not self.exist or self._limits.get(slot) == (memory_bytes, processes):
            return
        self._write("memory", slot, LIMIT_FILES[self._version], memory_bytes)
        if "pids" in self._folders:
            self._write("pids", slot, "pids.max", processes + 1)
        self._limits[slot] = (memory_bytes, processes)

    def kills(self, slot: int) -> int:
        """Return how many processes of a slot the kernel has killed since the last call."""
        if not self.exist:
            return 0
        if slot not in self._events:
            place = self._place("memory", slot, EVENT_FILES[self._version])
            self._events[slot] = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        text = os.pread(self._events[slot], EVENTS_BYTES, 0)
        counts = dict(line.split() for line in text.splitlines())
        before, now = self._kills.get(slot, 0), int(counts.get(b"oom_kill", 0))
        self._kills[slot] = now
        return now - before

    def close(self) -> None:
        """Release the descriptors; the groups are the keeper's."""
        while self._events:
            os.close(self._events.popitem()[1])

    def _write(self, controller: str, slot: int, name: str, value: int) -> None:
        self._place(controller, slot, name).write_text(str(value))

    def _place(self, controller: str, slot: int, name: str) -> Path:
        return self._folders[controller] / str(slot) / name
