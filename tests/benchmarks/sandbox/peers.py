"""Peers: other ways to run a program, which the benchmarks put beside the sandboxes."""

import json
import os
import platform
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

from agentevo_environments.sandboxes.base import DEFAULT_LIMITS
from agentevo_environments.sandboxes.docker.daemon import connect
from agentevo_environments.sandboxes.docker.image import ensure_image
from agentevo_environments.sandboxes.embedded.guest import entry, seccomp
from agentevo_environments.sandboxes.embedded.launch import UNPRIVILEGED_UID, find_bubblewrap
from agentevo_environments.sandboxes.embedded.layout import interpreter, make_layout

Call = Callable[[], str]
"""Runs the program once and returns what it printed."""

FORK_SERVER = """
import os, sys, io
while (line := sys.stdin.readline()):
    read, write = os.pipe()
    if os.fork() == 0:
        os.dup2(write, 1)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"))
        exec(eval(line), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    output = b""
    while part := os.read(read, 65536):
        output += part
    os.close(read)
    os.wait()
    sys.stdout.write(repr(output.decode()) + "\\n")
    sys.stdout.flush()
"""


def fork_server(stack: ExitStack, code: str) -> Call:
    """Return a call of a server that forks and contains nothing: the floor."""
    return _served(stack, [str(interpreter()), "-I", "-S", "-c", FORK_SERVER], code)


def plain_subprocess(_: ExitStack, code: str) -> Call:
    """Return a call that starts an interpreter and contains nothing."""
    command = [str(interpreter()), "-I", "-S", "-c", code]
    return lambda: subprocess.run(command, capture_output=True, text=True, check=True).stdout


def bubblewrap(stack: ExitStack, code: str) -> Call:
    """Return a call that starts bubblewrap for every execution.

    It does what the embedded sandbox does: the same user, visible files, namespaces, capabilities,
    system-call filter and limits of a process, but no limit on the memory of all together.
    """
    if find_bubblewrap() is None:
        raise OSError("bwrap is not installed")
    return _served(stack, [sys.executable, __file__], code)


def docker_exec(stack: ExitStack, code: str) -> Call:
    """Return a call of the daemon's exec in a container that idles."""
    client = connect()
    stack.callback(client.close)
    container = client.containers.run(
        ensure_image(client), ["sleep", "3600"], detach=True, network_mode="none", auto_remove=True
    )
    stack.callback(container.remove, force=True)
    command = ["python3", "-I", "-S", "-c", code]

    def call() -> str:
        output = container.exec_run(command).output
        assert isinstance(output, bytes), "it was not asked to stream"
        return output.decode()

    return call


def docker_run(stack: ExitStack, code: str) -> Call:
    """Return a call that makes a container for every execution."""
    client = connect()
    stack.callback(client.close)
    image = ensure_image(client)
    command = ["python3", "-I", "-S", "-c", code]

    def call() -> str:
        output: bytes = client.containers.run(image, command, network_mode="none", remove=True)
        return output.decode()

    return call


def _served(stack: ExitStack, command: list[str], code: str) -> Call:
    """Return a call of a process that reads code and writes its output, a literal per line."""
    server = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    assert server.stdin
    assert server.stdout
    stdin, stdout = server.stdin, server.stdout

    def call() -> str:
        stdin.write(repr(code) + "\n")
        stdin.flush()
        return str(eval(stdout.readline()))

    return call


def serve_bubblewrap() -> None:
    """Start a bubblewrap for every line of standard input, as an unprivileged user."""
    layout = asdict(make_layout())
    binds = layout["binds"]
    if os.geteuid() == 0:
        binds = entry.show(binds, in_place=False)
        entry.become(UNPRIVILEGED_UID)
    os.chdir("/")
    _limit()
    code = seccomp.instructions(platform.machine(), in_namespaces=True)
    bpf = os.memfd_create("filter")
    os.write(bpf, b"".join(struct.pack("=HBBI", *instruction) for instruction in code))
    *outer, end = entry.bubblewrap_arguments(layout, binds)
    private = ["--tmpfs", "/tmp", "--tmpfs", "/dev/shm", "--chdir", "/tmp", "--cap-drop", "ALL"]
    command = [str(find_bubblewrap()), *outer, *private, "--disable-userns"]
    command += ["--seccomp", str(bpf), end, layout["python"], "-I", "-S", "-c"]
    for line in sys.stdin:
        os.lseek(bpf, 0, os.SEEK_SET)
        done = subprocess.run(
            [*command, eval(line)], stdout=subprocess.PIPE, env={}, pass_fds=(bpf,), check=True
        )
        print(json.dumps(done.stdout.decode()), flush=True)


def _limit() -> None:
    for kind, value in (
        (resource.RLIMIT_AS, DEFAULT_LIMITS.memory_bytes),
        (resource.RLIMIT_CORE, 1),
        (resource.RLIMIT_FSIZE, DEFAULT_LIMITS.file_bytes),
        (resource.RLIMIT_NOFILE, DEFAULT_LIMITS.open_files),
    ):
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    serve_bubblewrap()
