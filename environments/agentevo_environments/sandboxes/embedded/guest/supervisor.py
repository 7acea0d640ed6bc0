"""Supervisor: the first process of a slot, in namespaces of its own; it outlives the program.

It starts the process that will become the program, isolates the slot, reaps what the program
leaves behind, kills everything when the client says so or is gone, and hands over the files. In
T1 and T2 the program cannot signal it (first process of its pid namespace), nor trace or read it
(not dumpable), and when it ends, the kernel kills all that is left in the namespace.
"""

import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agentevo_environments.sandboxes.embedded.guest import harvest, kernel, program
from agentevo_environments.sandboxes.embedded.guest.slot import (
    READY,
    STARTED_KEEPING,
    Channels,
    Isolation,
    Template,
    close_all_but,
)
from agentevo_environments.sandboxes.protocol import encode, encode_head

HUNG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def run(template: Template, isolation: Isolation, slot: int, channels: Channels) -> NoReturn:
    """Be a slot: isolate, announce, wait for the program to end, report; never returns.

    The program's process is forked first: what a process touches before a fork is copied once
    more for each of the two that touch it after.
    """
    try:
        for descriptor in template.members[slot] if template.members else ():
            os.write(descriptor, b"0")
        close_all_but(channels.client, channels.output, channels.errors)
        try:
            _split(isolation, channels)
        finally:
            isolation.end()
    except Exception as error:  # noqa: BLE001 (whatever fails, the client is told)
        with suppress(OSError):
            os.write(channels.client, encode({"failed": f"{type(error).__name__}: {error}"}))
    finally:
        os._exit(0)


def _split(isolation: Isolation, channels: Channels) -> None:
    """Start the process that becomes the program, isolate both, and watch it."""
    (started, start), (isolated, announce) = os.pipe(), os.pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        program.run(isolation, channels, isolated, start)
    close_all_but(channels.client, started, announce)
    isolation.enter()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    os.write(announce, READY)
    os.close(announce)
    kernel.drop_capabilities()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, channels.client)
    with suppress(BrokenPipeError, ConnectionResetError):
        _supervise(isolation, client, child, started)


def _supervise(isolation: Isolation, client: socket.socket, child: int, started: int) -> None:
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.set_blocking(started, False)
    encode({"status": 0})  # once before it counts, as are the reading of `wake` and `started`
    _read_mark(started)
    os.write(waker, READY)
    socket.send_fds(client, [READY], [os.pidfd_open(os.getpid())])
    status = _wait(client, child, wake)
    if status is None:
        isolation.kill_all()
    mark = _read_mark(started)
    header: dict[str, object] = {"status": status, "started": bool(mark)}
    if mark != STARTED_KEEPING:
        client.sendall(encode(header))
        return
    isolation.kill_all()
    files = harvest.collect(Path(isolation.work))
    header |= {"files": files.names, "left_out": files.left_out}
    client.sendall(encode_head(header, files.sizes))
    files.send(client)


def _read_mark(started: int) -> bytes:
    """Return the program's mark that it has begun, or nothing while it has not."""
    try:
        return os.read(started, 1)
    except BlockingIOError:
        return b""


def _wait(client: socket.socket, child: int, wake: int) -> int | None:
    """Return the wait status of the program, or None when the client ended it first."""
    poll = select.poll()
    poll.register(client, HUNG_UP)
    poll.register(wake, select.POLLIN)
    while True:
        status = _reap(child)
        if status is not None:
            return status
        for descriptor, _ in poll.poll():
            if descriptor != wake:
                return None
            os.read(wake, 4096)


def _reap(child: int) -> int | None:
    """Collect all that ended; return the wait status of `child` when it did."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in {0, child}:
                return status if pid else None
    return None
