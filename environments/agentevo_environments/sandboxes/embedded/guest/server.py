"""Server: arms slots on request; each slot is a process that waits, fully isolated, for a program.

The server never sees a program, a file or an output: those go straight between the client and
the slot, whose descriptors the server hands to the client. So nothing of one execution is in the
memory from which the next one is forked.
"""

import _socket  # socket itself is much memory
import gc
import importlib
import os
import signal
import site
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import kernel, program, supervisor
from agentevo_environments.sandboxes.embedded.guest.namespaces import Namespaces
from agentevo_environments.sandboxes.embedded.guest.seccomp import arming_filter
from agentevo_environments.sandboxes.embedded.guest.slot import (
    TOLD,
    Channels,
    Isolation,
    Template,
    give_way,
)
from agentevo_environments.sandboxes.protocol import encode

PRELOADED = (
    "_random", "_sha512", "_weakrefset", "bisect", "collections", "copy", "datetime", "functools",
    "heapq", "itertools", "json", "math", "operator", "re", "string", "time", "traceback", "typing",
)  # fmt: skip
"""Saves programs the import. Of random and threading only what they import: both do much at every
fork once they are there."""
DESCRIPTOR_BYTES = 4
ROOM_BYTES = _socket.CMSG_SPACE(len(Channels._fields) * DESCRIPTOR_BYTES)
FILTERED = frozenset(("T1", "T2", "T3"))


def main(settings: Mapping[str, Any]) -> int:
    """Serve one client until it closes the control socket.

    Args:
        settings: `tier`, `control` (descriptor), `slots` (their number), `members` (per slot,
            descriptors of the control groups to join), `packages` (folders to import from),
            `python` (the interpreter), and for T3 and T4 `scratch` (folder to write in),
            `readable` and `listable` (paths).
    """
    for module in PRELOADED:
        importlib.import_module(module)
    site.setquit()
    signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
    give_way()  # arming a slot is not to delay the programs of others
    kernel.forbid_new_privileges()
    isolate = _isolation(settings)
    if settings["tier"] in FILTERED:
        arming_filter(in_namespaces=settings["tier"] != "T3").install()
    control = _socket.socket(fileno=settings["control"])
    template = Template(isolate, settings["members"], settings["packages"], settings["python"])
    with suppress(BrokenPipeError, ConnectionResetError):
        control.sendall(encode({"server": settings["tier"]}))
        program.prepare(template)
        gc.collect()
        kernel.trim_memory()
        gc.freeze()
        while True:
            request, ancillary, _, _ = control.recvmsg(1, ROOM_BYTES)
            if not request:
                break
            _, _, passed = ancillary[0]
            _arm(control, template, request[0], Channels(*memoryview(passed).cast("i")))
    return 0


def _isolation(settings: Mapping[str, Any]) -> Callable[[], Isolation]:
    if settings["tier"] in {"T1", "T2"}:
        namespaces = Namespaces(settings["slots"])
        return lambda: namespaces
    from agentevo_environments.sandboxes.embedded.guest.folders import Folders

    confined = settings["tier"] == "T3"
    readable, listable = settings["readable"], settings["listable"]
    return lambda: Folders(settings["scratch"], readable, listable, confined=confined)


def _arm(control: _socket.socket, template: Template, slot: int, channels: Channels) -> None:
    """Fork a slot and send the client its pidfd; forget those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    isolation = template.isolate()
    pid, pidfd = isolation.fork(slot)
    if pid == 0:
        supervisor.run(template, isolation, slot, channels)
    passed = pidfd.to_bytes(DESCRIPTOR_BYTES, sys.byteorder)
    control.sendmsg([bytes((slot,))], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, passed)])
    for descriptor in (*channels, pidfd):
        os.close(descriptor)
