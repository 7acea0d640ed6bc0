"""Slots: the pool of armed processes, each good for one execution."""

import os
import select
import signal
import socket
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass

from agentevo_environments.errors import SandboxDiedError
from agentevo_environments.sandboxes.embedded.guest.slot import END, HARVEST, READY, Channels
from agentevo_environments.sandboxes.embedded.launch import START_TIMEOUT_S, Server, died
from agentevo_environments.sandboxes.protocol import FrameBuffer

WARM = 2
"""Slots that are armed while nothing runs: one to take, one being armed behind it."""
SPARE = 4
"""Numbers beyond those in use, for slots whose last processes are still ending."""


@dataclass(slots=True)
class Slot:
    """An isolated process that waits for its program.

    Attributes:
        number: Names its control groups; free again when all its processes are gone.
        client: Socket for the request and the report.
        output: Descriptor of the program's standard output.
        errors: Descriptor of the program's standard error.
        process: pidfd of its first process; readable when every process of the slot is gone.
        has_namespaces: Whether all its processes die with the first one.
    """

    number: int
    client: socket.socket
    output: int
    errors: int
    process: int = -1
    has_namespaces: bool = True

    def kill(self) -> None:
        """Kill every process of the slot; without a pid namespace, its first process does it."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL if self.has_namespaces else END)

    def harvest(self) -> None:
        """Kill every process of the slot but its first one, which then sends the files."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.process, HARVEST)

    def close_channels(self) -> None:
        """Close all but the pidfd; without its client an armed slot ends itself."""
        self.client.close()
        os.close(self.output)
        os.close(self.errors)


class SlotPool:
    """Armed slots of a server, refilled in the background by the server itself.

    Args:
        server: Arms the slots.
        parallel: Number of slots that are in use at the same time, at most.
    """

    def __init__(self, server: Server, parallel: int) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._in_use = threading.BoundedSemaphore(parallel)
        self._free = deque(range(slot_count(parallel)))
        self._armed: deque[Slot] = deque()
        self._arming: deque[Slot] = deque()
        self._ending: dict[int, Slot] = {}
        self._closed = False

    def take(self) -> Slot:
        """Return an armed slot, waiting for one when all are in use.

        Raises:
            SandboxDiedError: The server has ended, or a slot could not be isolated.
        """
        self._in_use.acquire()
        slot = None
        try:
            with self._lock:
                slot = self._next()
            _wait_until_ready(slot)
        except BaseException:
            if slot is not None:
                self._retire(slot)
            self._in_use.release()
            raise
        return slot

    def give_back(self, slot: Slot) -> None:
        """Retire a used slot, with whatever still runs in it, and arm another."""
        self._retire(slot)
        self._in_use.release()
        with self._lock, suppress(SandboxDiedError):
            self._refill()

    def warm_up(self) -> None:
        """Ask for the slots that wait while nothing runs."""
        with self._lock:
            self._refill()

    def has_died(self, within_s: float) -> bool:
        """Return whether the server has ended, or does within a time."""
        return self._closed or self._server.has_ended(within_s)

    def close(self) -> None:
        """Release all descriptors; the slots end with them."""
        with self._lock:
            self._closed = True
            for slot in (*self._armed, *self._arming):
                slot.close_channels()
            for slot in (*self._armed, *self._ending.values()):
                os.close(slot.process)
            for slots in (self._armed, self._arming, self._ending):
                slots.clear()

    def _retire(self, slot: Slot) -> None:
        """End a slot; its number is free again when it is wholly gone."""
        slot.kill()
        slot.close_channels()
        with self._lock:
            if self._closed:
                os.close(slot.process)
            else:
                self._ending[slot.process] = slot

    def _next(self) -> Slot:
        if not self._armed:
            if not self._arming:
                self._arm()
            self._receive()
        return self._armed.popleft()

    def _refill(self) -> None:
        while not self._closed and len(self._armed) + len(self._arming) < WARM:
            self._arm()

    def _arm(self) -> None:
        if self._closed:
            raise died()
        number = self._free_number()
        client, theirs = socket.socketpair()
        output, errors = os.pipe(), os.pipe()
        slot = Slot(number, client, output[0], errors[0])
        slot.has_namespaces = self._server.settings.tier in {"T1", "T2"}
        try:
            self._server.arm(number, Channels(theirs.fileno(), output[1], errors[1]))
        except BaseException:
            slot.close_channels()
            self._free.append(number)
            raise
        finally:
            theirs.close()
            os.close(output[1])
            os.close(errors[1])
        self._arming.append(slot)

    def _receive(self) -> None:
        self._arming[0].process = self._server.receive()
        self._armed.append(self._arming.popleft())

    def _free_number(self) -> int:
        """Return a number whose last slot is wholly gone; there are enough for one to be."""
        self._collect(0)
        while not self._free:
            self._collect(None)
        return self._free.popleft()

    def _collect(self, timeout_ms: int | None) -> None:
        if not self._ending:
            return
        poll = select.poll()
        for descriptor in self._ending:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(timeout_ms):
            self._free.append(self._ending.pop(descriptor).number)
            os.close(descriptor)


def slot_count(parallel: int) -> int:
    """Return how many slot numbers a pool uses."""
    return parallel + WARM + SPARE


def _wait_until_ready(slot: Slot) -> None:
    """Wait until the slot is isolated."""
    slot.client.settimeout(START_TIMEOUT_S)
    data = b""
    with suppress(OSError):
        data = slot.client.recv(1 << 16)
    if data == READY:
        return
    if not data:
        raise died()
    reasons = [frame.header.get("failed") for frame in FrameBuffer().feed(data)]
    raise SandboxDiedError(
        f"the embedded sandbox could not isolate a program ({reasons}): start a new sandbox"
    )
