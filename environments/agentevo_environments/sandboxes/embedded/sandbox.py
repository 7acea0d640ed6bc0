"""EmbeddedSandbox: programs in fresh namespaces on this machine, started in milliseconds."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from agentevo_environments.errors import SandboxDiedError, SandboxError
from agentevo_environments.sandboxes.base import (
    DEFAULT_LIMITS,
    Containment,
    Ending,
    ExecResult,
    Limits,
    Program,
)
from agentevo_environments.sandboxes.embedded import tiers
from agentevo_environments.sandboxes.embedded.contained import containment
from agentevo_environments.sandboxes.embedded.execution import Execution, Outcome
from agentevo_environments.sandboxes.embedded.launch import Server, died
from agentevo_environments.sandboxes.embedded.memory import MemoryGroups
from agentevo_environments.sandboxes.embedded.request import encode_request
from agentevo_environments.sandboxes.embedded.slots import SlotPool
from agentevo_environments.sandboxes.workspace import WorkspaceSandbox

DEATH_NOTICE_S = 0.1
GROUPS_ARE_GONE = (errno.ENOENT, errno.ENODEV)
"""Errors of the control groups when the keeper, which had made them, was killed."""
OUT_OF_MEMORY = ("MemoryError", "bash: xmalloc", "Cannot allocate memory")


class EmbeddedSandbox(WorkspaceSandbox):
    """Runs each program in namespaces of its own, armed before the program is known.

    No daemon and no image: the interpreter, the standard library and the system's programs are
    visible read-only, everything else of the host is not. Results by execution id are kept for
    the life of this object; the sandbox's processes end with the process that made it, so a
    resumed run has a new sandbox and runs what had not been answered again.

    Args:
        tier: "auto" for the strongest of T1 to T3 that works here, or one of "T1" to "T4".
        packages: Folders with packages that programs may import, read-only.
        parallel: Number of programs at the same time, at most.
        allow_unsafe: Whether T4, which contains almost nothing, may be used.
        cgroups: Whether to limit total memory by control groups where they are writable.
    """

    def __init__(
        self,
        *,
        tier: tiers.TierChoice = "auto",
        packages: Sequence[str | Path] = (),
        parallel: int = 8,
        allow_unsafe: bool = False,
        cgroups: bool = True,
    ) -> None:
        super().__init__()
        self._choice = tiers.Choice(
            tier, tuple(packages), parallel, allow_unsafe=allow_unsafe, cgroups=cgroups
        )
        self._server: Server | None = None
        self._pool: SlotPool
        self._memory: MemoryGroups
        self._owner = 0

    @property
    def containment(self) -> Containment:
        """What the tier that was chosen holds back."""
        return containment(self._started().settings.tier, groups=self._memory.exist)

    def start(self) -> None:
        """Start the strongest tier that works.

        Raises:
            SandboxUnavailableError: None works; the message names what each one lacks.
            SandboxError: It was started before.
        """
        if self._owner:
            raise SandboxError("the sandbox was started before: make a new one")
        self._owner = os.getpid()
        self._server, self._pool = tiers.start(self._choice)
        self._memory = MemoryGroups(self._server.groups)

    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        """Run a program; see `Sandbox.exec`.

        Raises:
            LimitsError: The files are larger than `disk_bytes`, or a limit cannot be kept here.
            SandboxDiedError: The sandbox has ended.
        """
        self._started()
        return self._executions.once(
            execution_id, lambda: self._run(program, limits, execution_id, keep_files=keep_files)
        )

    def close(self) -> None:
        """Kill everything. May be called twice."""
        server, self._server = self._server, None
        if server is not None and self._owner == os.getpid():
            self._pool.close()
            self._memory.close()
            server.close()

    def _started(self) -> Server:
        if self._server is None:
            state = "is closed" if self._owner else "was not started: use it in a 'with' block"
            raise SandboxDiedError(f"the sandbox {state}")
        if self._owner != os.getpid():
            raise SandboxDiedError(
                "the sandbox belongs to the process that started it, not to this fork of it:"
                " start a new sandbox here"
            )
        return self._server

    def _run(
        self, program: Program, limits: Limits, execution_id: str, *, keep_files: bool
    ) -> ExecResult:
        request = encode_request(program, self._workspace.files, limits, keep_files=keep_files)
        slot = self._pool.take()
        try:
            self._memory.limit(slot.number, limits.memory_bytes, limits.processes)
            outcome = Execution(slot, limits, keep_files=keep_files).run(request)
            kills = self._memory.kills(slot.number)
            lost = not (outcome.reported or outcome.stopped or outcome.failed or kills)
            if lost and self._pool.has_died(DEATH_NOTICE_S):
                raise died()
        except OSError as error:
            if error.errno not in GROUPS_ARE_GONE:
                raise
            raise died() from error
        finally:
            self._pool.give_back(slot)
        if outcome.files is not None:
            self._workspace.replace(outcome.files)
        notes = self._notes(outcome, kills, keep_files=keep_files)
        return _result(outcome, kills, execution_id, notes)

    def _notes(self, outcome: Outcome, kills: int, *, keep_files: bool) -> tuple[str, ...]:
        notes = []
        if not self._memory.exist:
            notes.append(
                "memory is limited for each process, not in total: no writable control group"
            )
        if kills:
            notes.append(f"{kills} processes were killed at the memory limit")
        if keep_files and outcome.files is None:
            notes.append("the files it left were lost; the workspace is as before")
        if outcome.left_out:
            notes.append(f"{outcome.left_out} files were unreadable or too large and not kept")
        return tuple(notes)


def _result(outcome: Outcome, kills: int, execution_id: str, notes: tuple[str, ...]) -> ExecResult:
    if outcome.failed:
        raise SandboxError(f"the sandbox failed before the program began: {outcome.failed}")
    errors = outcome.errors.text()
    exit_code = None if outcome.status is None else os.waitstatus_to_exitcode(outcome.status)
    ending = _ending(outcome, exit_code, kills, errors)
    return ExecResult(
        ending,
        None if outcome.stopped else exit_code,
        outcome.output.text(),
        errors,
        truncated=outcome.output.over or outcome.errors.over,
        duration_s=outcome.duration_s,
        execution_id=execution_id,
        notes=notes,
    )


def _ending(outcome: Outcome, exit_code: int | None, kills: int, errors: str) -> Ending:
    if outcome.stopped:
        return outcome.stopped
    if kills and (exit_code is None or exit_code < 0):
        return "memory_limit"
    if exit_code is None or exit_code < 0:
        return "killed"
    last = errors.rstrip().rpartition("\n")[2]
    if exit_code and last.startswith(OUT_OF_MEMORY):
        return "memory_limit"
    return "exited"
