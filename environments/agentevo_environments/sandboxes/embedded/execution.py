"""Execution: one conversation with a slot: send the request, read within the limits, end on time."""

import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from agentevo_environments.errors import ProtocolError
from agentevo_environments.sandboxes.base import Limits
from agentevo_environments.sandboxes.embedded.slots import Slot
from agentevo_environments.sandboxes.protocol import HEADER_LIMIT_BYTES, Frame, FrameBuffer

READ_BYTES = 1 << 16
SEND_TIMEOUT_S = 30.0
HARVEST_TIMEOUT_S = 5.0
FRAME_OVERHEAD_BYTES = HEADER_LIMIT_BYTES + 1024


@dataclass(slots=True)
class Outcome:
    """What was seen of an execution.

    Attributes:
        stopped: The limit at which the client ended it, or None.
        status: Wait status of the program's process, or None when it did not end by itself.
        reported: Whether the slot lived to say how the program ended.
        started: Whether the program was reached; if not, the error output says what failed.
        output: Standard output, at most one byte more than the limit.
        errors: Standard error, likewise.
        files: What it left, or None when that was not asked for or was lost.
        left_out: Number of files that it left and that could not be taken.
        duration_s: Seconds from the request to the end.
    """

    stopped: Literal["timeout", "output_limit"] | None = None
    status: int | None = None
    reported: bool = False
    started: bool = False
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    files: Mapping[str, bytes] | None = None
    left_out: int = 0
    duration_s: float = 0.0


class Execution:
    """Runs one request in one slot.

    Args:
        slot: An armed slot.
        limits: What the program may use.
        keep_files: Whether to take over the files that it leaves.
    """

    def __init__(self, slot: Slot, limits: Limits, *, keep_files: bool) -> None:
        self._slot = slot
        self._limits = limits
        self._keep_files = keep_files
        self._frames = FrameBuffer(limit_bytes=limits.disk_bytes + FRAME_OVERHEAD_BYTES)
        self._poll = select.poll()
        self._over = False
        self.outcome = Outcome()
        self._streams = {slot.output: self.outcome.output, slot.errors: self.outcome.errors}

    def run(self, request: bytes) -> Outcome:
        """Send the request and follow the program to its end or to a limit."""
        for descriptor in self._streams:
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._slot.client.settimeout(SEND_TIMEOUT_S)
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            self._slot.client.sendall(request)
        self._slot.client.setblocking(False)
        self._poll.register(self._slot.client, select.POLLIN)
        self._follow(time.monotonic() + self._limits.timeout_s)
        for descriptor in self._streams:
            self._read_rest(descriptor)
        if self._over:
            self.outcome.stopped = self.outcome.stopped or "output_limit"
        self.outcome.duration_s = time.monotonic() - began
        return self.outcome

    def _follow(self, deadline: float) -> None:
        while not self._over:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self.outcome.stopped = "timeout"
                break
            for descriptor, _ in self._poll.poll(left_s * 1000 + 1):
                if descriptor in self._streams:
                    self._read(descriptor)
                elif self._read_report():
                    return
        self._stop()

    def _stop(self) -> None:
        """End the program, and wait for its files when they are wanted."""
        if not self._keep_files:
            self._slot.kill()
            return
        with suppress(OSError):
            self._slot.client.shutdown(socket.SHUT_WR)
        poll = select.poll()
        poll.register(self._slot.client, select.POLLIN)
        while poll.poll(HARVEST_TIMEOUT_S * 1000):
            if self._read_report():
                return
        self._slot.kill()

    def _read(self, descriptor: int) -> bool:
        """Read once from a stream; return whether there may be more."""
        stream = self._streams[descriptor]
        room = self._limits.output_bytes + 1 - len(stream)
        try:
            data = os.read(descriptor, min(READ_BYTES, room)) if room else b""
        except BlockingIOError:
            return False
        stream += data
        self._over = self._over or len(stream) > self._limits.output_bytes
        if not data:
            with suppress(KeyError):
                self._poll.unregister(descriptor)
        return bool(data)

    def _read_rest(self, descriptor: int) -> None:
        while self._read(descriptor):
            pass

    def _read_report(self) -> bool:
        """Read from the slot's socket; return whether nothing more will come."""
        try:
            data = self._slot.client.recv(1 << 20)
            frames = self._frames.feed(data)
        except BlockingIOError:
            return False
        except (ConnectionResetError, ProtocolError):
            return True
        for frame in frames:
            self._take_over(frame)
        return bool(frames) or not data

    def _take_over(self, frame: Frame) -> None:
        header: Mapping[str, Any] = frame.header
        self.outcome.reported = True
        self.outcome.status = header.get("status")
        self.outcome.started = bool(header.get("started"))
        self.outcome.left_out = int(header.get("left_out", 0))
        if "files" in header:
            self.outcome.files = dict(zip(header["files"], frame.blobs, strict=True))
