"""Supervisor: the first process of a slot, in namespaces of its own; it outlives the program.

It arms the slot, starts the process that will become the program, reaps what the program leaves
behind, kills everything when the client says so or is gone, and then hands over the files. The
program cannot signal it (first process of its pid namespace), nor trace or read it (not
dumpable). When it ends, the kernel kills all that is left in the namespace.
"""

import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agentevo_environments.sandboxes.embedded.guest import harvest, isolation, kernel, program
from agentevo_environments.sandboxes.embedded.guest.slot import (
    READY,
    STARTED_KEEPING,
    Channels,
    Template,
    close_all_but,
)
from agentevo_environments.sandboxes.protocol import encode, encode_head

HUNG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def run(template: Template, slot: int, channels: Channels) -> NoReturn:
    """Be a slot: isolate, announce, wait for the program to end, report; never returns."""
    try:
        _isolate(template, slot, channels)
    except Exception as error:  # noqa: BLE001 (whatever fails, the client is told)
        with suppress(OSError):
            os.write(channels.client, encode({"failed": f"{type(error).__name__}: {error}"}))
    finally:
        os._exit(0)


def _isolate(template: Template, slot: int, channels: Channels) -> None:
    """Enter the namespaces; the process that is the first in them goes on, this one returns."""
    for descriptor in template.members[slot] if template.members else ():
        os.write(descriptor, b"0")
    close_all_but(channels.client, channels.output, channels.errors)
    isolation.enter_namespaces()
    if os.fork() == 0:
        isolation.mount_private_files()
        os.setsid()
        kernel.drop_bounding_set()
        _split(template, channels)


def _split(template: Template, channels: Channels) -> None:
    """Start the process that becomes the program and watch it."""
    started, start = os.pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        program.run(template, channels, start)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    close_all_but(channels.client, started)
    kernel.drop_capabilities()
    client = socket.socket(fileno=channels.client)
    with suppress(BrokenPipeError, ConnectionResetError):
        _supervise(client, child, started)


def _supervise(client: socket.socket, child: int, started: int) -> None:
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    socket.send_fds(client, [READY], [os.pidfd_open(os.getpid())])
    status = _wait(client, child, wake)
    os.set_blocking(started, False)
    with suppress(BlockingIOError):
        mark = os.read(started, 1)
    header: dict[str, object] = {"status": status, "started": bool(mark)}
    if mark != STARTED_KEEPING:
        client.sendall(encode(header))
        return
    _kill_all()
    files = harvest.collect(Path(isolation.WORK))
    header |= {"files": files.names, "left_out": files.left_out}
    client.sendall(encode_head(header, files.sizes))
    files.send(client)


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
                _kill_all()
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


def _kill_all() -> None:
    """Kill every other process of the namespace and wait until they are gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.wait()
