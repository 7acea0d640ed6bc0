"""Program: the process of a slot that waits for the request and becomes what was asked for.

Order matters: the process isolates itself, and sets files and limits, while it still has its
rights in the slot's own namespaces; then it gives up all capabilities, completes the system-call
filter, and runs.
"""

# ruff: noqa: PTH103, PTH120

import math
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from agentevo_environments.sandboxes.embedded.guest import kernel, source
from agentevo_environments.sandboxes.embedded.guest.request import Request, pack, read, unpack
from agentevo_environments.sandboxes.embedded.guest.slot import (
    ENDED,
    READY,
    Channels,
    Isolation,
    Template,
    be_prompt,
    close_all_but,
    give_way,
    write_all,
)
from agentevo_environments.sandboxes.protocol import encode

CANNOT_RUN = 127
NO_CORE_DUMP = 1  # 0 would still start a core_pattern pipe on the host
UNLIMITED = 1 << 50
GRACE_S = 0.05
_LIMITS = ("timeout_s", "memory_bytes", "disk_bytes", "files", "file_bytes", "open_files")
_REHEARSAL = pack(Request(None, b"", b"", dict.fromkeys(_LIMITS, UNLIMITED), (), ()))
# As they are before a program can replace them.
_exit, _getpid, _getppid, _kill, _sleep = os._exit, os.getpid, os.getppid, os.kill, time.sleep


def run(isolation: Isolation, channels: Channels, guarded: int) -> NoReturn:
    """Wait for a request, set up what it asks for, and run it; never returns.

    Args:
        isolation: The slot's.
        channels: The slot's.
        guarded: Pipe that brings a byte when the slot's first process is out of reach.
    """
    status = 1
    try:
        if request := _prepare(isolation, channels, guarded):
            status = _run(request) if request.argv is None else _replace(request.argv)
    finally:
        _exit(status)


def _prepare(isolation: Isolation, channels: Channels, guarded: int) -> Request | None:
    """Return the request when all is set up for it, or None when there is none or that failed."""
    try:
        os.dup2(channels.output, 1)
        os.dup2(channels.errors, 2)
        _arm(isolation)
        if not os.read(guarded, 1):
            return None
        os.write(channels.client, READY)
        request = read(channels.client)
        if request is not None:
            _set_up(isolation, request)
    except Exception as error:  # noqa: BLE001 (whatever fails, the client is told)
        with suppress(OSError):
            os.write(channels.client, encode({"failed": f"{type(error).__name__}: {error}"}))
        return None
    close_all_but()
    return request


def _run(request: Request) -> int:
    """Run source, and tell the supervisor of the end before all memory is freed, which takes long.

    What this process has forked comes here as well, and is not to speak for it. A supervisor that
    has nothing left to do but to end is not to delay the client by it.
    """
    process = _getpid()
    status = source.run(request.code)
    if status < len(ENDED) and _getpid() == process:
        with suppress(OSError):
            _kill(_getppid(), ENDED[status])
            if not request.keeps_files:
                give_way(_getppid())
            _sleep(GRACE_S)
    return status


def prepare(template: Template) -> None:
    """Do, in the server, all that is the same for every program."""
    environment = {
        "HOME": "",
        "LANG": "C.UTF-8",
        "LOGNAME": "agent",
        "PATH": f"{os.path.dirname(template.python)}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "",
        "USER": "agent",
    }
    if template.packages:
        environment["PYTHONPATH"] = ":".join(template.packages)
    source.prepare([""], template.packages, environment)
    _settle(template.isolate())


def _settle(isolation: Isolation) -> None:
    """Name the slot's folders to the program."""
    os.environ["HOME"] = os.environ["TMPDIR"] = isolation.home
    sys.path[0] = isolation.work


def _arm(isolation: Isolation) -> None:
    """Do all that does not depend on the request, and what is as well done before it comes."""
    kernel.unblock_signals()
    kernel.set_dumpable(1)
    settled = bool(isolation.home)
    isolation.enter()
    if not settled:
        _settle(isolation)
    rehearsal = unpack(_REHEARSAL)
    _place(isolation, rehearsal)
    _limit(rehearsal.limits, UNLIMITED)
    source.rehearse()
    be_prompt()


def _set_up(isolation: Isolation, request: Request) -> None:
    limits = request.limits
    _place(isolation, request)
    _limit(limits, isolation.process_limit(limits["processes"]))
    isolation.confine()


def _place(isolation: Isolation, request: Request) -> None:
    """Place what the program finds: standard input and files."""
    limits = request.limits
    isolation.limit_disk(limits["disk_bytes"], limits["files"])
    stdin = os.memfd_create("stdin")
    write_all(stdin, request.stdin)
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    os.close(stdin)
    for name, data in zip(request.names, request.contents, strict=True):
        path = f"{isolation.work}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        write_all(descriptor, data)
        os.close(descriptor)


def _replace(argv: Sequence[str]) -> int:
    """Become another program; return the exit status when that is not possible."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], list(argv))
    except (OSError, ValueError) as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode(errors="replace"))
        return CANNOT_RUN


def _limit(limits: Mapping[str, Any], processes: int) -> None:
    cpu_s = math.ceil((limits["timeout_s"] + 1) * (os.cpu_count() or 1))
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CORE, NO_CORE_DUMP),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_NPROC, processes),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
