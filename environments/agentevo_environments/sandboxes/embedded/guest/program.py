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
)
from agentevo_environments.sandboxes.protocol import Frame, read_frame

CANNOT_RUN = 127
NO_CORE_DUMP = 1  # 0 would still start a core_pattern pipe on the host


def run(template: Template, isolation: Isolation, channels: Channels, start: int) -> NoReturn:
    """Wait for a request, set up what it asks for, and run it; never returns."""
    status = 1
    try:
        client = socket.socket(fileno=channels.client)
        request = read_frame(client.recv)
        if request is not None:
            _set_up(isolation, request, channels)
            os.write(start, STARTED_KEEPING if request.header["keep"] else STARTED)
            os.closerange(3, start + 1)
            status = _execute(template, isolation, request)
    except OSError as error:
        os.write(channels.errors, f"the sandbox could not set up the program: {error}\n".encode())
    finally:
        os._exit(status)


def _set_up(isolation: Isolation, request: Frame, channels: Channels) -> None:
    limits = request.header["limits"]
    isolation.limit_disk(limits["disk_bytes"], limits["files"])
    stdin = os.memfd_create("stdin")
    _write_all(stdin, request.blobs[1])
    os.lseek(stdin, 0, os.SEEK_SET)
    for name, data in zip(request.header["files"], request.blobs[2:], strict=True):
        path = Path(isolation.work, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for number, descriptor in enumerate((stdin, channels.output, channels.errors)):
        os.dup2(descriptor, number)
    for number in (signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _limit(limits, isolation.process_limit(limits["processes"]))
    isolation.confine()


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


def _execute(template: Template, isolation: Isolation, request: Frame) -> int:
    """Run the program in this process and return its exit status."""
    environment = {
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "LOGNAME": "agent",
        "PATH": f"{Path(template.python).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": isolation.home,
        "USER": "agent",
    }
    if template.packages:
        environment["PYTHONPATH"] = ":".join(template.packages)
    argv = request.header["argv"]
    if argv is None:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.environ.clear()
        os.environ.update(environment)
        return source.run(request.blobs[0], [isolation.work], template.packages)
    try:
        os.execvpe(argv[0], argv, environment)
    except (OSError, ValueError) as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode(errors="replace"))
        return CANNOT_RUN


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
