"""MontySandbox: snippets of a Python subset in pydantic-monty's own interpreter, in microseconds.

For the glue of tool calls, not for programs: no files, arguments, standard input, third-party
modules, class inheritance or generators. Limits are always set, the pool's request timeout is
always on, and a guard kills the worker at the wall-clock limit, whatever it is waiting for.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agentevo_environments.errors import (
    LimitsError,
    SandboxDiedError,
    SandboxError,
    SandboxUnavailableError,
)
from agentevo_environments.sandboxes.base import (
    DEFAULT_LIMITS,
    Containment,
    Ending,
    ExecResult,
    Limits,
    Program,
    Sandbox,
)
from agentevo_environments.sandboxes.executions import Executions

if TYPE_CHECKING:
    from pydantic_monty import Monty

_RECURSION_DEPTH = 500
_SUSPENSIONS = 10_000
_WHAT_RUNS = "the monty sandbox runs code only: no argv, stdin, files or workspace; use 'embedded'"


class MontySandbox(Sandbox):
    """Runs snippets in worker processes of the `monty` interpreter.

    Args:
        workers: Number of snippets at the same time, at most.
        longest_s: Largest time limit that an execution may ask for, in seconds; the pool's own
            request timeout.
    """

    def __init__(self, *, workers: int = 2, longest_s: float = 60.0) -> None:
        self._workers = workers
        self._longest_s = longest_s
        self._executions = Executions()
        self._pool: Monty | None = None

    @property
    def containment(self) -> Containment:
        """What the interpreter holds back; the kernel holds back nothing."""
        return Containment(
            backend="monty",
            tier="interpreter",
            contains=(
                "reading and writing host files",
                "host environment and secrets",
                "network and processes",
                "time, output and heap memory of one execution",
            ),
            not_contained=(
                "flaws of the interpreter: its workers run as this user, without kernel isolation",
                "death of the client: a busy worker runs on until its time limit",
            ),
        )

    def start(self) -> None:
        """Start the workers.

        Raises:
            SandboxUnavailableError: pydantic-monty is not installed or does not start.
            SandboxError: It was started before.
        """
        if self._pool is not None:
            raise SandboxError("the sandbox was started before: make a new one")
        try:
            from pydantic_monty import Monty

            pool = Monty(max_processes=self._workers, request_timeout=self._longest_s)
            self._pool = pool.__enter__()
        except (ImportError, OSError) as error:
            raise SandboxUnavailableError(
                f'the monty sandbox cannot start ({error}): pip install "agentevo[monty]"'
            ) from error

    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        """Run a snippet; see `Sandbox.exec`. There are no files to keep.

        Raises:
            SandboxError: The program is not plain code.
            LimitsError: The time limit is above `longest_s`.
            SandboxDiedError: The sandbox is closed or was not started.
        """
        if self._pool is None:
            raise SandboxDiedError("the sandbox is not running: start it, or make a new one")
        code = program.code
        if code is None or program.stdin or program.files:
            raise SandboxError(_WHAT_RUNS)
        if limits.timeout_s > self._longest_s:
            raise LimitsError(
                f"timeout_s is {limits.timeout_s!r}; this sandbox allows up to {self._longest_s!r}"
            )
        run = _Run(self._pool, limits, execution_id)
        return self._executions.once(execution_id, lambda: run.result(code))

    def put(self, path: str, data: bytes) -> None:
        """Refuse: there are no files."""
        raise SandboxError(_WHAT_RUNS)

    def get(self, path: str) -> bytes:
        """Refuse: there are no files."""
        raise FileNotFoundError(path)

    def workspace(self) -> Sequence[str]:
        """Return nothing: there are no files."""
        return ()

    def reset(self) -> None:
        """Forget stored results."""
        self._executions.clear()

    def close(self) -> None:
        """End the workers. May be called twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


class _Run:
    """One execution: what it printed so far, and the guard that kills its worker."""

    def __init__(self, pool: "Monty", limits: Limits, execution_id: str) -> None:
        self._pool = pool
        self._limits = limits
        self._id = execution_id
        self._printed: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._lock = threading.Lock()
        self._worker: int | None = None
        self._killed_for: Ending | None = None

    def result(self, code: str) -> ExecResult:
        begun = time.monotonic()
        ending, exit_code = self._run(code, begun + self._limits.timeout_s)
        return ExecResult(
            ending=ending,
            exit_code=exit_code,
            stdout=self._printed["stdout"].decode(errors="replace"),
            stderr=self._printed["stderr"].decode(errors="replace"),
            truncated=ending == "output_limit",
            duration_s=time.monotonic() - begun,
            execution_id=self._id,
        )

    def _run(self, code: str, deadline: float) -> tuple[Ending, int | None]:
        from pydantic_monty import MontyCrashedError, MontyRuntimeError, MontySyntaxError

        guard = threading.Timer(self._limits.timeout_s, self._kill, args=("timeout",))
        guard.daemon = True
        try:
            self._feed(code, deadline, guard)
        except MontyCrashedError:
            return self._killed_for or "killed", None
        except MontySyntaxError as error:
            self._print("stderr", f"{error.display()}\n")
            return "exited", 1
        except MontyRuntimeError as error:
            return self._failure(error.exception(), error.display(), deadline)
        finally:
            guard.cancel()
        return self._killed_for or "exited", None if self._killed_for else 0

    def _feed(self, code: str, deadline: float, guard: threading.Timer) -> None:
        limits = self._limits
        session = self._pool.checkout(
            limits={
                "max_feed_duration_secs": limits.timeout_s,
                "max_turn_duration_secs": limits.timeout_s,
                "max_memory": limits.memory_bytes,
                "max_recursion_depth": _RECURSION_DEPTH,
                "max_suspensions": _SUSPENSIONS,
            },
            os_policy={"sleep": "call_host"},
        )
        with session as live:
            self._worker = live.worker_pid
            guard.start()
            try:
                live.feed_run(code, print_callback=self._print, os=_sleeper(deadline))
            finally:
                # From here on the worker may serve another execution: the guard must not kill it.
                with self._lock:
                    self._worker = None

    def _print(self, stream: str, text: str) -> None:
        kept = self._printed[stream]
        kept += text.encode(errors="replace")
        if len(kept) > self._limits.output_bytes:
            del kept[self._limits.output_bytes :]
            self._kill("output_limit")

    def _kill(self, reason: Ending) -> None:
        with self._lock:
            if self._worker is not None:
                self._killed_for = self._killed_for or reason
                os.kill(self._worker, signal.SIGKILL)

    def _failure(
        self, error: BaseException, text: str, deadline: float
    ) -> tuple[Ending, int | None]:
        if self._killed_for:
            return self._killed_for, None
        if isinstance(error, MemoryError) and "memory limit exceeded" in str(error):
            return "memory_limit", None
        if isinstance(error, TimeoutError) and time.monotonic() >= deadline - 0.01:
            return "timeout", None
        self._print("stderr", f"{text}\n")
        return "exited", 1


def _sleeper(deadline: float) -> Callable[..., object]:
    """Return the host's side of `sleep`: it waits no longer than to the deadline."""
    from pydantic_monty import NOT_HANDLED

    def answer(*, name: str, args: tuple[float, ...], **_: object) -> object:
        if not name.endswith(".sleep"):
            return NOT_HANDLED
        left = max(deadline - time.monotonic(), 0.0)
        time.sleep(min(args[0], left))
        if args[0] > left:
            raise TimeoutError("the time limit was reached while sleeping")
        return None

    return answer
