"""Inside the container: the process that forks executions and never sees a request.

For each execution it forks a keeper, and the keeper forks the program's process. The keeper takes
the execution's uid as its effective uid only, so it can signal everything of that uid while
nothing of that uid can signal it. When the program ends, or on request, it kills every process of
the uid, reports how the program ended and what files it left, and wipes what is left of it.
"""

import gc
import os
import select
import signal
import socket
from typing import Any, NoReturn

from agentevo_environments.sandboxes import protocol
from agentevo_environments.sandboxes.docker import leftovers, program
from agentevo_environments.sandboxes.embedded.guest import harvest, seccomp

KILL = b"K"
"""What the supervisor sends to a keeper to end its execution."""

DONE = b"D"
"""What a keeper sends last: nothing of the execution is left."""

_DEATH_LIMIT_S = 5.0
_MESSAGE_BYTES = 64


def serve(orders: socket.socket) -> NoReturn:
    """Fork a keeper for each order: a uid as text, with a control and a report socket.

    Args:
        orders: Where orders come from; its end ends the process.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    filtering = seccomp.whole_filter() if seccomp.is_supported() else None
    program.prepare()
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, _MESSAGE_BYTES, 2)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            orders.close()
            control, report = map(_socket, descriptors)
            _keep(int(message), control, report, filtering)
        for descriptor in descriptors:
            os.close(descriptor)


def _socket(descriptor: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)


def _keep(
    uid: int, control: socket.socket, report: socket.socket, filtering: seccomp.Filter | None
) -> NoReturn:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    os.setegid(uid)
    os.seteuid(uid)
    outputs = [os.pipe(), os.pipe()]
    os.seteuid(0)
    os.setegid(0)
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        report.close()
        program.run_armed(control, (outputs[0][1], outputs[1][1]), uid, filtering)
    control.close()
    _become_keeper(uid)
    socket.send_fds(report, [b"R"], [read for read, _ in outputs])
    for read, write in outputs:
        os.close(read)
        os.close(write)
    order = protocol.read_frame(report.recv)
    if order is None:
        os._exit(0)
    status = _await(child, woken, report)
    _finish(child, report, status, keep_files=order.header["keep_files"])


def _become_keeper(uid: int) -> None:
    guard = uid + 1
    os.setgroups([])
    os.setresgid(guard, uid, guard)
    os.setresuid(guard, uid, guard)


def _await(child: int, woken: int, report: socket.socket) -> int | None:
    """Wait until the program has ended, not merely stopped; return its exit status.

    Returns:
        The status, negative for a signal, or None when the supervisor ends it.
    """
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(report, select.POLLIN)
    while True:
        if report.fileno() in dict(poll.poll()):
            return None
        os.read(woken, _MESSAGE_BYTES)
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _finish(child: int, report: socket.socket, status: int | None, *, keep_files: bool) -> NoReturn:
    """Report, then kill and wipe what is left; where the report needs that, the other way round."""
    early = status is not None and not keep_files
    if early:
        report.sendall(protocol.encode({"status": status}))
    waited = leftovers.end_all(child, _DEATH_LIMIT_S)
    if waited is None:
        os._exit(1)
    if not early:
        _report_late(report, os.waitstatus_to_exitcode(waited), keep_files=keep_files)
    leftovers.wipe()
    report.sendall(DONE)
    os._exit(0)


def _report_late(report: socket.socket, status: int, *, keep_files: bool) -> None:
    header: dict[str, Any] = {"status": status}
    if not keep_files:
        report.sendall(protocol.encode(header))
        return
    left = harvest.collect(program.WORK)
    header |= {"files": left.names, "left_out": left.left_out}
    report.sendall(protocol.encode_head(header, left.sizes))
    left.send(report.fileno())
