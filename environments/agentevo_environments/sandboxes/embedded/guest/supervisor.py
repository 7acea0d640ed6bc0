"""Supervisor: the first process of a slot, in namespaces of its own; it outlives the program.

It starts the process that will become the program, reaps what the program leaves behind, tells the
client how the program ended, and hands over the files. It is told everything by signals: how the
program ended only by the program's own process, which the kernel names as the sender; to end, by
anything in the slot. In T1 and T2 the program cannot kill it (first process of its pid
namespace), nor trace or read it (not dumpable), and when it ends, the kernel kills all that is
left in the namespace.

Every page of memory that a fork touches is copied, which is most of what a slot costs; so this
process does only what the program's process cannot do.
"""

import os
import signal
from contextlib import suppress
from typing import NoReturn

from agentevo_environments.sandboxes.embedded.guest import harvest, program
from agentevo_environments.sandboxes.embedded.guest.slot import (
    END,
    ENDED,
    HARVEST,
    READY,
    TOLD,
    Channels,
    Isolation,
    Template,
    be_prompt,
    close_all_but,
    write_all,
)
from agentevo_environments.sandboxes.protocol import encode, encode_head

SENT_BY_KILL = 0  # si_code; the kernel fills in the sender, which it does not for others
REPORTS = {code << 8: encode({"status": code << 8}) for code in range(len(ENDED))}


def run(template: Template, isolation: Isolation, slot: int, channels: Channels) -> NoReturn:
    """Be a slot: wait for the program to end, report, hand over the files; never returns."""
    try:
        for descriptor in template.members[slot] if template.members else ():
            os.write(descriptor, b"0")
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
    """Start the process that becomes the program, get out of its reach, and watch it."""
    guarded, announce = os.pipe()
    child = os.fork()
    if child == 0:
        program.run(isolation, channels, guarded)
    close_all_but(channels.client, announce)
    isolation.guard()
    be_prompt()
    os.write(announce, READY)
    os.close(announce)
    with suppress(BrokenPipeError, ConnectionResetError):
        _supervise(isolation, channels.client, child)


def _supervise(isolation: Isolation, client: int, child: int) -> None:
    reported = False
    while True:
        told = signal.sigwaitinfo(TOLD)
        if told.si_signo == END:
            return
        if told.si_signo == HARVEST:
            break
        status = _status(told, child)
        if status is not None and not reported:
            reported = True
            write_all(client, REPORTS.get(status) or encode({"status": status}))
    isolation.kill_all()
    files = harvest.collect(isolation.work)
    header = {"files": files.names, "left_out": files.left_out}
    write_all(client, encode_head(header, files.sizes))
    files.send(client)


def _status(told: signal.struct_siginfo, child: int) -> int | None:
    """Return the wait status of the program, or None when this signal does not tell it."""
    if told.si_signo == signal.SIGCHLD:
        return _reap(child)
    if told.si_pid == child and told.si_code == SENT_BY_KILL:
        return ENDED.index(told.si_signo) << 8
    return None


def _reap(child: int) -> int | None:
    """Collect all that ended; return the wait status of `child` when it did."""
    ended = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                ended = status
    return ended
