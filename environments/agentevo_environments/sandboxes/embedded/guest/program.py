"""Program: the process of a slot that waits for the request and becomes what was asked for.

Order matters: files and limits are set while the process still has its rights in the slot's own
namespaces; then it gives up all capabilities, installs the system-call filter, and runs.
"""

import math
import os
import resource
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from agentevo_environments.sandboxes.embedded.guest import source
from agentevo_environments.sandboxes.embedded.guest.slot import (
    STARTED,
    STARTED_KEEPING,
    Channels,
    Isolation,
    Template,
    close_all_but,
)
from agentevo_environments.sandboxes.protocol import Frame, read_frame

CANNOT_RUN = 127
NO_CORE_DUMP = 1  # 0 would still start a core_pattern pipe on the host


def run(template: Template, isolation: Isolation, channels: Channels, start: int) -> NoReturn:
    """Wait for a request, set up what it asks for, and run it; never returns."""
    status = 1
    try:
        client = socket.socket(fileno=channels.client)
        environment = _prepare(template, isolation, channels)
        request = read_frame(client.recv)
        if request is not None:
            _set_up(isolation, request)
            os.write(start, STARTED_KEEPING if request.header["keep"] else STARTED)
            if request.header["argv"] is not None:
                close_all_but()
                status = _replace(request.header["argv"], environment)
            else:
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                close_all_but()
                status = source.run(request.blobs[0])
    except OSError as error:
        os.write(2, f"the sandbox could not set up the program: {error}\n".encode())
    finally:
        os._exit(status)


def _prepare(template: Template, isolation: Isolation, channels: Channels) -> dict[str, str]:
    """Do all that does not depend on the request; return the environment variables."""
    environment = {
        "HOME": isolation.home,
        "LANG": "C.UTF-8",
        "LOGNAME": "agent",
        "PATH": f"{Path(template.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": isolation.home,
        "USER": "agent",
    }
    if template.packages:
        environment["PYTHONPATH"] = ":".join(template.packages)
    os.dup2(channels.output, 1)
    os.dup2(channels.errors, 2)
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source.prepare([isolation.work], template.packages, environment)
    return environment


def _set_up(isolation: Isolation, request: Frame) -> None:
    limits = request.header["limits"]
    isolation.limit_disk(limits["disk_bytes"], limits["files"])
    stdin = os.memfd_create("stdin")
    _write_all(stdin, request.blobs[1])
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    for name, data in zip(request.header["files"], request.blobs[2:], strict=True):
        path = Path(isolation.work, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    _limit(limits, isolation.process_limit(limits["processes"]))
    isolation.confine()


def _replace(argv: list[str], environment: Mapping[str, str]) -> int:
    """Become another program; return the exit status when that is not possible."""
    try:
        os.execvpe(argv[0], argv, environment)
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
