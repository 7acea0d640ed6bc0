"""Execution: one conversation with a slot: send the request, read within the limits, end on time."""

import os
import select
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from agentevo_environments.errors import ProtocolError
from agentevo_environments.sandboxes.base import Limits
from agentevo_environments.sandboxes.embedded.output import Output
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
        failed: Why the program could not be started, or "".
        output: Standard output.
        errors: Standard error.
        files: What it left, or None when that was not asked for or was lost.
        left_out: Number of files that it left and that could not be taken.
        duration_s: Seconds from the request to the end.
    """

    output: Output
    errors: Output
    stopped: Literal["timeout", "output_limit"] | None = None
    status: int | None = None
    reported: bool = False
    failed: str = ""
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
        self._hung_up = False
        self.outcome = Outcome(Output(limits.output_bytes), Output(limits.output_bytes))
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
        if self._keep_files:
            self._harvest()
        elif self.outcome.stopped or self._over():
            self._slot.kill()
        for descriptor in self._streams:
            self._read_rest(descriptor)
        if self._over():
            self.outcome.stopped = self.outcome.stopped or "output_limit"
        self.outcome.duration_s = time.monotonic() - began
        return self.outcome

    def _over(self) -> bool:
        return self.outcome.output.over or self.outcome.errors.over

    def _follow(self, deadline: float) -> None:
        """Read until the program or its slot has ended, or a limit is reached."""
        while not self._over():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                self.outcome.stopped = "timeout"
                return
            for descriptor, _ in self._poll.poll(left_s * 1000 + 1):
                if descriptor in self._streams:
                    self._read(descriptor)
                elif self._read_report():
                    return

    def _harvest(self) -> None:
        """End the program and wait for its files; how it ended may be told before them."""
        self._slot.harvest()
        poll = select.poll()
        poll.register(self._slot.client, select.POLLIN)
        while self.outcome.files is None and poll.poll(HARVEST_TIMEOUT_S * 1000):
            if self._read_report() and self._hung_up:
                return

    def _read(self, descriptor: int) -> bool:
        """Read once from a stream; return whether there may be more."""
        stream = self._streams[descriptor]
        room = stream.room_bytes
        try:
            data = os.read(descriptor, min(READ_BYTES, room)) if room else b""
        except BlockingIOError:
            return False
        if data:
            stream.add(data)
        else:
            with suppress(KeyError):
                self._poll.unregister(descriptor)
        return bool(data)

    def _read_rest(self, descriptor: int) -> None:
        while self._read(descriptor):
            pass

    def _read_report(self) -> bool:
        """Read from the slot's socket; return whether it said something or hung up."""
        try:
            data = self._slot.client.recv(1 << 20)
            frames = self._frames.feed(data)
        except BlockingIOError:
            return False
        except (ConnectionResetError, ProtocolError):
            data, frames = b"", []
        for frame in frames:
            self._take_over(frame)
        self._hung_up = not data
        return bool(frames) or self._hung_up

    def _take_over(self, frame: Frame) -> None:
        header: Mapping[str, Any] = frame.header
        if "files" in header:
            self.outcome.left_out = int(header["left_out"])
            self.outcome.files = dict(zip(header["files"], frame.blobs, strict=True))
        elif "failed" in header:
            self.outcome.failed = str(header["failed"])
        else:
            self.outcome.reported = True
            self.outcome.status = header["status"]
