"""Program: the process of a slot that waits for the request and becomes what was asked for.

Order matters: files and limits are set while the process still has its rights in the slot's own
namespaces; then it gives up all capabilities, installs the system-call filter, and runs.
"""

import io
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from agentevo_environments.sandboxes.embedded.guest import kernel, source
from agentevo_environments.sandboxes.embedded.guest.slot import (
    STARTED,
    STARTED_KEEPING,
    Channels,
    Isolation,
    Template,
    close_all_but,
)
from agentevo_environments.sandboxes.protocol import Frame, encode, read_frame

CANNOT_RUN = 127
NO_CORE_DUMP = 1  # 0 would still start a core_pattern pipe on the host
UNLIMITED = 1 << 50
_LIMITS = ("timeout_s", "memory_bytes", "disk_bytes", "files", "file_bytes", "open_files")
_REHEARSAL = encode({"limits": dict.fromkeys(_LIMITS, UNLIMITED), "files": []}, (b"", b""))


def run(isolation: Isolation, channels: Channels, isolated: int, start: int) -> NoReturn:
    """Wait for a request, set up what it asks for, and run it; never returns.

    Args:
        isolation: The slot's.
        channels: The slot's.
        isolated: Pipe that brings a byte when the slot is isolated.
        start: Pipe to tell when the program begins.
    """
    status = 1
    try:
        os.dup2(channels.output, 1)
        os.dup2(channels.errors, 2)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, channels.client)
        if os.read(isolated, 1):
            _arm(isolation)
            if request := read_frame(client.recv):
                _set_up(isolation, request)
                os.write(start, STARTED_KEEPING if request.header["keep"] else STARTED)
                close_all_but()
                argv = request.header["argv"]
                status = source.run(request.blobs[0]) if argv is None else _replace(argv)
    except OSError as error:
        os.write(2, f"the sandbox could not set up the program: {error}\n".encode())
    finally:
        os._exit(status)


def prepare(template: Template) -> None:
    """Do, in the server, all that is the same for every program."""
    environment = {
        "HOME": "",
        "LANG": "C.UTF-8",
        "LOGNAME": "agent",
        "PATH": f"{Path(template.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": "",
        "USER": "agent",
    }
    if template.packages:
        environment["PYTHONPATH"] = ":".join(template.packages)
    source.prepare([""], template.packages, environment)


def _arm(isolation: Isolation) -> None:
    """Do all that does not depend on the request, and what is as well done before it comes."""
    isolation.join()
    os.environ["HOME"] = os.environ["TMPDIR"] = isolation.home
    sys.path[0] = isolation.work
    rehearsal = read_frame(io.BytesIO(_REHEARSAL).read)
    assert rehearsal is not None
    _place(isolation, rehearsal)
    _limit(rehearsal.header["limits"], UNLIMITED)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    source.rehearse()


def _set_up(isolation: Isolation, request: Frame) -> None:
    limits = request.header["limits"]
    _place(isolation, request)
    _limit(limits, isolation.process_limit(limits["processes"]))
    isolation.confine()


def _place(isolation: Isolation, request: Frame) -> None:
    """Place what the program finds: standard input and files."""
    limits = request.header["limits"]
    isolation.limit_disk(limits["disk_bytes"], limits["files"])
    stdin = os.memfd_create("stdin")
    _write_all(stdin, request.blobs[1])
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    os.close(stdin)
    for name, data in zip(request.header["files"], request.blobs[2:], strict=True):
        path = Path(isolation.work, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _replace(argv: list[str]) -> int:
    """Become another program; return the exit status when that is not possible."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)
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


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
