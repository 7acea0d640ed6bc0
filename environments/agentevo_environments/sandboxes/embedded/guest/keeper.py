"""Keeper: the process between the client and the sandbox, which cleans up whatever happens.

It makes the control groups, starts the sandbox's server as a child with fewer rights, waits for
the client or the server to end, and then kills the server and removes the groups. It is not
inside the sandbox and runs no program of others. The client's death is seen by a pidfd, so that
processes forked by the client, which still hold its sockets, keep nothing alive.
"""

import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import cgroup, entry, folders, kernel
from agentevo_environments.sandboxes.protocol import encode


def main(settings: Mapping[str, Any]) -> int:
    """Run a sandbox from start to end.

    Args:
        settings: `client` (process id), `control` (descriptor of the socket to the client),
            `slots`, `cgroups` (whether to use them), and what `entry.enter` needs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    with suppress(ProcessLookupError):
        client = os.pidfd_open(settings["client"])
        if os.getppid() == settings["client"]:
            _keep(settings, client)
    return 0


def _keep(settings: Mapping[str, Any], client: int) -> None:
    control = socket.socket(fileno=settings["control"])
    groups = cgroup.create(settings["slots"], _limited(settings)) if settings["cgroups"] else None
    scratch = ""
    try:
        scratch = _make_scratch(settings)
        with suppress(BrokenPipeError, ConnectionResetError):
            control.sendall(encode({"groups": _describe(groups)}))
            members = [groups.open_members(slot) for slot in range(groups.slots)] if groups else []
            server = _start({**settings, "scratch": scratch}, control, members)
            control.close()
            _close(*(descriptor for slot in members for descriptor in slot))
            _wait(client, server)
    finally:
        folders.kill_descendants()
        if scratch:
            folders.remove(scratch)
        if groups:
            groups.remove()


def _make_scratch(settings: Mapping[str, Any]) -> str:
    """Make the folder in which the slots of T3 and T4 write; "" for the other tiers."""
    if settings["tier"] in {"T1", "T2"}:
        return ""
    import tempfile

    scratch = tempfile.mkdtemp(prefix=f"{cgroup.PREFIX}{os.getpid()}-")
    try:
        if settings["uid"] is not None:
            os.chown(scratch, settings["uid"], settings["uid"])
    except OSError:
        folders.remove(scratch)
        raise
    return scratch


def _limited(settings: Mapping[str, Any]) -> Sequence[str]:
    """Return what groups limit; user namespaces count the processes of each slot themselves."""
    if settings["tier"] in {"T1", "T2"}:
        return (cgroup.MEMORY,)
    return (cgroup.MEMORY, cgroup.PROCESSES)


def _describe(groups: cgroup.Groups | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    return {
        "version": groups.version,
        "folders": {controller: str(folder) for controller, folder in groups.folders.items()},
    }


def _start(settings: Mapping[str, Any], control: socket.socket, members: list[list[int]]) -> int:
    server = os.fork()
    if server == 0:
        try:
            for descriptor in (control.fileno(), *(d for slot in members for d in slot)):
                os.set_inheritable(descriptor, True)
            entry.enter({**settings, "control": control.fileno(), "members": members})
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        os._exit(1)
    return server


def _wait(client: int, server: int) -> None:
    """Wait until one of the two has ended and see to it that the server does."""
    poll = select.poll()
    poll.register(client, select.POLLIN)
    poll.register(os.pidfd_open(server), select.POLLIN)
    poll.poll()
    os.kill(server, signal.SIGKILL)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
