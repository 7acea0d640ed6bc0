"""Slot: what the processes of one slot share: isolation, the server's template, the channels."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

READY = b"R"
LARGEST_DESCRIPTOR = 1 << 20
_NO_PRIORITY = os.sched_param(0)

ENDED: tuple[int, ...] = (signal.SIGUSR1, signal.SIGUSR2)
"""What a program tells its supervisor when it is about to exit, with status 0 or 1."""
HARVEST: int = signal.SIGHUP
"""What the client tells a supervisor: end everything and send the files."""
END: int = signal.SIGTERM
"""What the client tells a supervisor that it does not simply kill: end everything."""
TOLD: frozenset[int] = frozenset((signal.SIGCHLD, HARVEST, END, *ENDED))
"""What is blocked from the server on, so that supervisors can wait for it."""


class Isolation(Protocol):
    """How a slot is kept apart; made anew for each slot, used by its processes in this order.

    Attributes:
        home: Folder for temporary files; "" until `enter` when each slot has another.
        work: Working directory of the program, likewise.
    """

    home: str
    work: str

    def fork(self, slot: int) -> tuple[int, int]:
        """Fork the first process of a slot; return its id, 0 in itself, and a pidfd."""

    def guard(self) -> None:
        """In the first process: become out of reach of the program, and give up all rights."""

    def enter(self) -> None:
        """In the program's process: isolate it, and with it all that it will start."""

    def limit_disk(self, disk_bytes: int, files: int) -> None:
        """Set how much the program may write in total, and into how many files and folders."""

    def process_limit(self, processes: int) -> int:
        """Return the RLIMIT_NPROC that lets the program have this many processes."""

    def confine(self) -> None:
        """In the program's process: give up all rights, for ever."""

    def kill_all(self) -> None:
        """In the first process: kill every other one and wait until they are gone."""

    def end(self) -> None:
        """In the first process: free what the slot holds on the host."""


class Template(NamedTuple):
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


class Channels(NamedTuple):
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
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, LARGEST_DESCRIPTOR)


def give_way(process: int = 0) -> None:
    """Schedule this or another process like a batch job, which interrupts nobody when it wakes up."""
    if os.sched_getscheduler(process) == os.SCHED_OTHER:
        os.sched_setscheduler(process, os.SCHED_BATCH, _NO_PRIORITY)


def be_prompt() -> None:
    """Be scheduled as usual again."""
    if os.sched_getscheduler(0) == os.SCHED_BATCH:
        os.sched_setscheduler(0, os.SCHED_OTHER, _NO_PRIORITY)


def write_all(descriptor: int, data: bytes) -> None:
    """Write to a descriptor that blocks."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
