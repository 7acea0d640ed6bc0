"""Slot: what the processes of one slot share: isolation, the server's template, the channels."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

READY = b"R"
STARTED, STARTED_KEEPING = b"s", b"k"
STANDARD = frozenset((0, 1, 2))
LARGEST_DESCRIPTOR = 1 << 20


class Isolation(Protocol):
    """How a slot is kept apart; made anew for each slot, used by its processes in this order."""

    home: str
    work: str

    def fork(self) -> int:
        """Fork the slot's first process; return as os.fork does."""

    def enter(self) -> None:
        """Become isolated, in the first process, and isolate with it those that it has forked."""

    def join(self) -> None:
        """Take one's place in it, in the program's process, after the first one has entered."""

    def limit_disk(self, disk_bytes: int, files: int) -> None:
        """Set how much the program may write in total, and into how many files and folders."""

    def process_limit(self, processes: int) -> int:
        """Return the RLIMIT_NPROC that lets the program have this many processes."""

    def confine(self) -> None:
        """Give up all rights in this process, for ever."""

    def kill_all(self) -> None:
        """Kill every other process of the slot and wait until they are gone."""

    def end(self) -> None:
        """Free what the slot holds on the host."""


@dataclass(frozen=True, slots=True)
class Template:
    """What all slots of a server have in common.

    Attributes:
        isolate: Returns a new isolation for a slot.
        members: For every slot, descriptors of the control groups to join.
        packages: Folders that programs may import from.
        python: The interpreter.
    """

    isolate: Callable[[], Isolation]
    members: Sequence[Sequence[int]]
    packages: Sequence[str]
    python: str


@dataclass(frozen=True, slots=True)
class Channels:
    """A slot's ends of its channels.

    Attributes:
        client: Brings the request and takes the report.
        output: Standard output.
        errors: Standard error.
    """

    client: int
    output: int
    errors: int


def close_all_but(*descriptors: int) -> None:
    """Close every descriptor but the given ones and the three standard ones."""
    kept = sorted(STANDARD.union(descriptors))
    for low, high in zip((-1, *kept), (*kept, LARGEST_DESCRIPTOR), strict=True):
        if low + 1 < high:
            os.closerange(low + 1, high)
