"""The `Sandbox` contract: run untrusted programs within stated limits and return what happened.

A result is data, never an exception: a crash, a timeout or a flood of output is an `ExecResult`.
Only a failure of the sandbox itself raises (`SandboxError`). Files cross only as bytes, through
`files` and `workspace`; nothing of the host is writable from inside.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Literal, Self

from agentevo_environments.errors import LimitsError

Ending = Literal["exited", "timeout", "output_limit", "memory_limit", "killed"]

MOST_S = 1_000_000
MOST = 1 << 50
"""Above these the kernel's own interfaces overflow."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one execution may use; every limit is enforced by the kernel or by the reader.

    Seconds are at most a million, everything else is a whole number of at most 2**50.

    Attributes:
        timeout_s: Wall-clock seconds until the whole process tree is killed; greater than 0.
        memory_bytes: Memory of all processes of the execution together.
        processes: Number of processes and threads.
        output_bytes: Size of stdout and of stderr, each; more ends the execution.
        file_bytes: Size of one written file.
        disk_bytes: Size of everything written.
        files: Number of files and directories written.
        open_files: Number of open file descriptors in one process.
    """

    timeout_s: float = 10.0
    memory_bytes: int = 256 << 20
    processes: int = 32
    output_bytes: int = 64 << 10
    file_bytes: int = 16 << 20
    disk_bytes: int = 64 << 20
    files: int = 4096
    open_files: int = 256

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            seconds = limit.name == "timeout_s"
            kind, most = ("finite", MOST_S) if seconds else ("whole", MOST)
            if not isinstance(value, (int, float) if seconds else int) or not 0 < value <= most:
                raise LimitsError(
                    f"{limit.name} must be a {kind} number above 0 and at most {most}, not {value!r}"
                )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: Python source (`code`) or an argument vector (`argv`), exactly one of them.

    Attributes:
        code: Python source, run as `__main__` by the sandbox's interpreter.
        argv: Program and arguments, run without a shell.
        stdin: Bytes on standard input.
        files: Files placed in the working directory first; relative paths to contents.
    """

    code: str | None = None
    argv: tuple[str, ...] | None = None
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.code is None) == (self.argv is None):
            raise ValueError("a program has either code or argv, exactly one of them")
        if self.argv is not None and not self.argv:
            raise ValueError("argv is empty: give the program's name first")
        for part in self.argv or ():
            if not isinstance(part, str):
                raise ValueError(f"argv is made of strings, not {part!r}")


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What one execution did.

    Attributes:
        ending: Why it ended: "exited" by itself, "timeout", "output_limit", "memory_limit", or
            "killed" by a signal or from outside.
        exit_code: Exit status; negative signal number when killed by a signal; None when the
            sandbox ended it.
        stdout: Standard output, at most `Limits.output_bytes`, undecodable bytes replaced.
        stderr: Standard error, likewise.
        truncated: Whether output was lost at the limit.
        duration_s: Wall-clock seconds from the request to the reply.
        execution_id: The id it was asked for with; "" when none was given.
        replayed: Whether this is the stored result of an earlier execution with the same id.
        notes: What the backend wants to say about limits it could not enforce.
    """

    ending: Ending
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool = False
    duration_s: float = 0.0
    execution_id: str = ""
    replayed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the program exited by itself with status 0."""
        return self.ending == "exited" and self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Containment:
    """What a started sandbox holds back, for `agentevo doctor` and every run report.

    Attributes:
        backend: Name of the backend, such as "embedded" or "docker".
        tier: Its strength as chosen by the probe, such as "T1".
        contains: Attack classes that are stopped.
        not_contained: Attack classes that are not stopped here, each with the reason.
    """

    backend: str
    tier: str
    contains: tuple[str, ...]
    not_contained: tuple[str, ...] = ()


class Sandbox(ABC):
    """Runs programs in isolation from the host and from each other.

    Every execution is fresh: own processes, own temporary files, nothing left behind for the
    next. What is meant to persist goes through the workspace, a mapping of relative paths to
    bytes that the sandbox copies into the working directory of every execution; with
    `keep_files=True` the regular files that an execution leaves there replace it afterwards.

    An instance may be used from several threads. `start` is called once; use the instance as a
    context manager so that it is always torn down.
    """

    @property
    @abstractmethod
    def containment(self) -> Containment:
        """What this sandbox holds back; valid after `start`."""

    @abstractmethod
    def start(self) -> None:
        """Make the sandbox ready.

        Raises:
            SandboxUnavailableError: It cannot run here; the message says what is missing.
        """

    @abstractmethod
    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        """Run a program to its end or to a limit.

        Args:
            program: What to run.
            limits: What it may use.
            execution_id: Identity for exactly-once: a second call with the same id returns the
                stored result, marked `replayed`, for the life of the sandbox.
            keep_files: Whether the files it leaves become the workspace.

        Raises:
            LimitsError: The files it is given are more or larger than the limits allow.
            SandboxDiedError: The sandbox itself has stopped; the execution may or may not have
                run.
        """

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Place a file in the workspace.

        Raises:
            ValueError: The path is absolute, leaves the workspace, or holds a NUL byte.
        """

    @abstractmethod
    def get(self, path: str) -> bytes:
        """Return a file of the workspace.

        Raises:
            FileNotFoundError: There is no such file.
        """

    @abstractmethod
    def workspace(self) -> Sequence[str]:
        """Return the paths of the files in the workspace, sorted."""

    @abstractmethod
    def reset(self) -> None:
        """Empty the workspace and forget stored results: a new task begins."""

    @abstractmethod
    def close(self) -> None:
        """Kill everything and free what the sandbox holds. May be called twice."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@contextmanager
def provision(sandbox: Sandbox) -> Iterator[Sandbox]:
    """Start a sandbox and tear it down whatever happens, a failing start included."""
    try:
        sandbox.start()
        yield sandbox
    finally:
        sandbox.close()
