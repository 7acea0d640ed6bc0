"""Server: arms slots on request; each slot is a process that waits, fully isolated, for a program.

The server never sees a program, a file or an output: those go straight between the client and
the slot, whose descriptors the server hands to the client. So nothing of one execution is in the
memory from which the next one is forked.
"""

import gc
import importlib
import os
import signal
import site
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import program, supervisor
from agentevo_environments.sandboxes.embedded.guest.folders import Folders
from agentevo_environments.sandboxes.embedded.guest.namespaces import Namespaces
from agentevo_environments.sandboxes.embedded.guest.slot import (
    Channels,
    Isolation,
    Template,
)
from agentevo_environments.sandboxes.protocol import encode

PRELOADED = (
    "_random", "_sha512", "_weakrefset", "bisect", "collections", "copy", "datetime", "functools",
    "heapq", "itertools", "json", "math", "operator", "re", "string", "time", "traceback", "typing",
)  # fmt: skip
"""Saves programs the import. Of random and threading only what they import: both do much at every
fork once they are there."""


def main(settings: Mapping[str, Any]) -> int:
    """Serve one client until it closes the control socket.

    Args:
        settings: `tier`, `control` (descriptor), `members` (per slot, descriptors of the control
            groups to join), `packages` (folders to import from), `python` (the interpreter), and
            for T3 and T4 `scratch` (folder to write in), `readable` and `listable` (paths).
    """
    for module in PRELOADED:
        importlib.import_module(module)
    site.setquit()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=settings["control"])
    template = Template(
        _isolation(settings), settings["members"], settings["packages"], settings["python"]
    )
    with suppress(BrokenPipeError, ConnectionResetError):
        control.sendall(encode({"server": settings["tier"]}))
        program.prepare(template)
        gc.collect()
        gc.freeze()
        while request := control.recv(1):
            _arm(control, template, request[0])
    return 0


def _isolation(settings: Mapping[str, Any]) -> Callable[[], Isolation]:
    if settings["tier"] in {"T1", "T2"}:
        namespaces = Namespaces()
        return lambda: namespaces
    confined = settings["tier"] == "T3"
    readable, listable = settings["readable"], settings["listable"]
    return lambda: Folders(settings["scratch"], readable, listable, confined=confined)


def _arm(control: socket.socket, template: Template, slot: int) -> None:
    """Fork a slot and send the client's ends of its channels, in the order of `Channels`."""
    ours, theirs = socket.socketpair()
    pipes = [os.pipe() for _ in range(2)]
    isolation = template.isolate()
    if isolation.fork() == 0:
        (_, output), (_, errors) = pipes
        channels = Channels(theirs.fileno(), output, errors)
        supervisor.run(template, isolation, slot, channels)
    reads = [read for read, _ in pipes]
    socket.send_fds(control, [bytes([slot])], [ours.fileno(), *reads])
    for end in (ours, theirs):
        end.close()
    for descriptor in (descriptor for pipe in pipes for descriptor in pipe):
        os.close(descriptor)
