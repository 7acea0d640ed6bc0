"""Inside the container: process 1, which takes requests from standard input and answers them.

It hands each request to a process that was forked in advance by the zygote, watches its output,
its end, its time, and the control stream, and answers with one frame. When standard input ends,
because the client has closed it or died, the runner exits and the kernel kills all the rest.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, NoReturn

from agentevo_environments.sandboxes import protocol
from agentevo_environments.sandboxes.docker import leftovers, zygote

REQUEST_LIMIT_BYTES = 512 << 20
_CHUNK_BYTES = 1 << 18
_STUCK_S = 60
_OUT_OF_MEMORY_COUNTS = ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events")
_PRELOADED = (
    "_random _sha512 _weakrefset base64 bisect collections contextlib copy csv dataclasses datetime "
    "decimal enum fractions functools hashlib heapq io itertools json math operator re string "
    "textwrap typing"
)
"""Saves programs the import. Of random and threading only what they import: both do much at every
fork once they are there."""


class Slot:
    """One armed execution: a process that waits for its request, and the keeper over it.

    Args:
        orders: Where the zygote takes orders.
        uid: User of the execution; the next one is its keeper's.
    """

    def __init__(self, orders: socket.socket, uid: int) -> None:
        self.control, control = socket.socketpair()
        self.report, report = socket.socketpair()
        with control, report:
            socket.send_fds(orders, [str(uid).encode()], [control.fileno(), report.fileno()])
        _, outputs, _, _ = socket.recv_fds(self.report, 1, 2)
        if len(outputs) != 2:  # noqa: PLR2004
            raise OSError("no process could be prepared")
        self.stdout, self.stderr = outputs
        for descriptor in outputs:
            os.set_blocking(descriptor, False)

    def close(self) -> bool:
        """Wait until the keeper has killed and wiped everything; return whether it could."""
        last = b""
        # A keeper that dies with an unread order resets the connection.
        with suppress(ConnectionResetError):
            while data := self.report.recv(_CHUNK_BYTES):
                last = data
        self.control.close()
        self.report.close()
        os.close(self.stdout)
        os.close(self.stderr)
        return last.endswith(zygote.DONE)


class Outcome:
    """What is known of an execution while it runs: output so far, and why it has to end."""

    def __init__(self, slot: Slot, limit_bytes: int) -> None:
        self.output: dict[int, bytearray] = {slot.stdout: bytearray(), slot.stderr: bytearray()}
        self.ending = ""
        self.truncated = False
        self._limit_bytes = limit_bytes

    def take(self, descriptor: int) -> bool:
        """Take in what a descriptor holds; tell whether it may give more."""
        buffer = self.output[descriptor]
        try:
            data = os.read(descriptor, min(_CHUNK_BYTES, self._limit_bytes - len(buffer) + 1))
        except BlockingIOError:
            return False
        buffer += data
        if len(buffer) > self._limit_bytes:
            del buffer[self._limit_bytes :]
            self.ending = self.ending or "output_limit"
            self.truncated = True
            return False
        return bool(data)


class Runner:
    """The loop of process 1."""

    def __init__(self) -> None:
        self._read = partial(os.read, 0)
        self._uids = _uids()
        self._orders, orders = socket.socketpair()
        if os.fork() == 0:
            self._orders.close()
            zygote.serve(orders)
        orders.close()

    def run(self) -> NoReturn:
        """Answer requests until standard input ends."""
        slot = self._arm()
        _write(protocol.encode({"ready": True, "python": sys.version.split()[0]}))
        while (head := protocol.read_head(self._read, limit_bytes=REQUEST_LIMIT_BYTES)) is not None:
            self._execute(slot, *head)
            if not slot.close():
                _exit("an execution could not be ended")
            if not leftovers.is_clean():
                _exit("an execution has left files that cannot be removed")
            slot = self._arm()
        os._exit(0)

    def _arm(self) -> Slot:
        return Slot(self._orders, next(self._uids))

    def _execute(self, slot: Slot, header: Mapping[str, Any], sizes: Sequence[int]) -> None:
        started = time.monotonic()
        killed_before = _out_of_memory_kills()
        slot.report.sendall(protocol.encode(header))
        self._relay_request(slot, header, sizes)
        outcome = Outcome(slot, header["output_bytes"])
        self._watch(slot, outcome, time.monotonic() + header["timeout_s"])
        report = protocol.read_head(slot.report.recv)
        if report is None:
            _exit("an execution could not be ended")
        for descriptor in outcome.output:
            while outcome.take(descriptor):
                pass
        if _out_of_memory_kills() > killed_before:
            outcome.ending = outcome.ending or "memory_limit"
        self._answer(slot, outcome, *report, started=started)

    def _relay_request(self, slot: Slot, header: Mapping[str, Any], sizes: Sequence[int]) -> None:
        """Pass the request on in pieces; when its receiver is gone, take in the rest unused."""
        gone = False
        pieces = [protocol.encode_head(header, sizes)]
        remaining = sum(sizes)
        while pieces or remaining:
            if not pieces:
                pieces.append(self._read(min(remaining, _CHUNK_BYTES)))
                remaining -= len(pieces[0])
            piece = pieces.pop()
            if not piece:
                os._exit(0)
            try:
                if not gone:
                    slot.control.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                gone = True

    def _watch(self, slot: Slot, outcome: Outcome, deadline: float) -> None:
        """Collect output until the execution has ended; order its end where a limit is met."""
        poll = select.poll()
        for descriptor in (0, slot.report.fileno(), slot.stdout, slot.stderr):
            poll.register(descriptor, select.POLLIN)
        ordered = False
        while True:
            wait_ms = None if ordered else max(0.0, deadline - time.monotonic()) * 1000 + 1
            events = poll.poll(wait_ms)
            if not events and not outcome.ending:
                outcome.ending = "timeout"
            for descriptor, _ in events:
                if descriptor == slot.report.fileno():
                    return
                if descriptor == 0:
                    # The client asks one thing at a time: whatever this is, it is the end.
                    os._exit(0)
                if ordered or not outcome.take(descriptor):
                    poll.unregister(descriptor)
            if outcome.ending and not ordered:
                slot.report.sendall(zygote.KILL)
                ordered = True

    def _answer(
        self,
        slot: Slot,
        outcome: Outcome,
        report: Mapping[str, Any],
        sizes: Sequence[int],
        *,
        started: float,
    ) -> None:
        stdout, stderr = outcome.output.values()
        header = {
            "ending": outcome.ending or ("killed" if report["status"] < 0 else "exited"),
            "status": report["status"],
            "truncated": outcome.truncated,
            "duration_s": time.monotonic() - started,
            "files": report.get("files", []),
            "left_out": report.get("left_out", 0),
        }
        head = protocol.encode_head(header, [len(stdout), len(stderr), *sizes])
        _write(b"".join((head, stdout, stderr)))
        remaining = sum(sizes)
        while remaining:
            piece = slot.report.recv(min(remaining, _CHUNK_BYTES))
            if not piece:
                _exit("files could not be collected")
            _write(piece)
            remaining -= len(piece)


def main() -> NoReturn:
    """Prepare process 1 and run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: _exit("the client takes no answer"))
    for name in _PRELOADED.split():
        importlib.import_module(name)
    leftovers.shared_folders()
    gc.collect()
    gc.freeze()
    Runner().run()


def _uids() -> Iterator[int]:
    """Yield users that nothing else on the machine uses, each followed by one for its keeper."""
    with open("/proc/self/uid_map") as file:  # noqa: PTH123
        mapped = sum(int(line.split()[2]) for line in file)
    low, high = (1 << 20, 1 << 31) if mapped >= 1 << 31 else (1000, min(mapped, 1 << 16))
    uid = low + int.from_bytes(os.urandom(4), "big") % (high - low - 1) // 2 * 2
    while True:
        yield uid
        uid = uid + 2 if uid + 4 < high else low


def _out_of_memory_kills() -> int:
    counts = _out_of_memory_counts()
    if counts is None:
        return 0
    lines = os.pread(counts, _CHUNK_BYTES, 0).splitlines()
    return int(dict(line.split() for line in lines).get(b"oom_kill", 0))


@cache
def _out_of_memory_counts() -> int | None:
    """Return a descriptor of the kernel's counts, or None where they cannot be read."""
    for path in _OUT_OF_MEMORY_COUNTS:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _write(data: bytes) -> None:
    """Send to the client; one that has stopped reading ends the container."""
    signal.alarm(_STUCK_S)
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
    signal.alarm(0)


def _exit(reason: str) -> NoReturn:
    os.write(2, f"{reason}\n".encode())
    os._exit(3)
