"""Inside the container: one execution, from its request to its last instruction.

The process is forked in advance from the zygote, so its memory holds nothing of other executions.
It receives its request, gives up everything but a uid of its own, and runs the program.
"""

import io
import os
import resource
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from agentevo_environments.sandboxes import protocol
from agentevo_environments.sandboxes.embedded.guest import kernel, seccomp, source

WORK = "/tmp/work"
"""Working directory of every execution."""

CANNOT_RUN = 127
CHUNK_BYTES = 1 << 20
BADNESS = 500
"""How much sooner the kernel chooses an execution than the runner when memory is out."""

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "LOGNAME": "agent",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "USER": "agent",
}


_REHEARSAL = protocol.encode({"argv": None}, (b"", b""))
_PROCESSORS = os.cpu_count() or 1


def prepare() -> None:
    """Do, in the process that forks them, all that is the same for every execution."""
    source.prepare([WORK], [], ENVIRONMENT)


def run_armed(
    control: socket.socket, outputs: tuple[int, int], uid: int, filtering: seccomp.Filter | None
) -> NoReturn:
    """Become `uid`, wait for a request on `control`, and run it.

    Args:
        control: Where the request comes from.
        outputs: Descriptors for standard output and standard error.
        uid: User and group of this execution, used by no other.
        filtering: The system calls that programs may not make.
    """
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _become(uid)
        head = protocol.read_head(control.recv)
        if head is not None:
            header, sizes = head
            code = _set_up(control, header, sizes, outputs)
            _limit(header)
            if filtering is not None:
                filtering.install()
            status = _run(header["argv"], code)
    except OSError as error:
        os.write(outputs[1], f"the sandbox could not set up the program: {error}\n".encode())
    finally:
        os._exit(status)


def _become(uid: int) -> None:
    os.setsid()
    kernel.write_file("/proc/self/oom_score_adj", b"%d" % BADNESS)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    os.umask(0o077)
    os.mkdir(WORK)  # noqa: PTH102 (every page of memory that a fork touches costs time)
    os.chdir(WORK)
    protocol.read_head(io.BytesIO(_REHEARSAL).read)
    source.rehearse()


def _set_up(
    control: socket.socket,
    header: Mapping[str, Any],
    sizes: list[int],
    outputs: tuple[int, int],
) -> bytes:
    """Take in source, standard input and files; return the source."""
    code = b"".join(_pieces(control, sizes[0]))
    stdin = os.memfd_create("stdin")
    _copy(control, stdin, sizes[1])
    os.lseek(stdin, 0, os.SEEK_SET)
    for name, size in zip(header["files"], sizes[2:], strict=True):
        path = Path(WORK, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        _copy(control, descriptor, size)
        os.close(descriptor)
    for number, descriptor in enumerate((stdin, *outputs)):
        os.dup2(descriptor, number)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return code


def _copy(control: socket.socket, descriptor: int, size: int) -> None:
    for piece in _pieces(control, size):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _pieces(control: socket.socket, size: int) -> Iterator[bytes]:
    while size:
        piece = control.recv(min(size, CHUNK_BYTES))
        if not piece:
            os._exit(1)
        size -= len(piece)
        yield piece


def _limit(header: Mapping[str, Any]) -> None:
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, int(header["timeout_s"] + 1) * _PROCESSORS + 1),
        (resource.RLIMIT_FSIZE, header["file_bytes"]),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, header["open_files"]),
        (resource.RLIMIT_NPROC, header["processes"]),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def _run(argv: list[str] | None, code: bytes) -> int:
    if argv is None:
        return source.run(code)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, ENVIRONMENT)
    except (OSError, ValueError) as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode(errors="replace"))
        return CANNOT_RUN
