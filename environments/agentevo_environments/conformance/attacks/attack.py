"""What an attack is: programs, and the verdict on what they and the host show afterwards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agentevo_environments.sandboxes.base import ExecResult, Limits

REACHED = "REACHED "
"""What a program prints, with a description, when it got where it must not get."""

ATTACK_LIMITS = Limits(
    timeout_s=5.0,
    memory_bytes=128 << 20,
    processes=24,
    output_bytes=32 << 10,
    file_bytes=8 << 20,
    disk_bytes=24 << 20,
    files=1024,
    open_files=128,
)
"""The limits under which attacks run; their goals are stated as multiples of these."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known after all steps of an attack.

    Attributes:
        results: One result per step.
        duration_s: Wall-clock seconds of each step as the client saw them.
        workspace: Files of the sandbox's workspace afterwards.
        secret: The host's secret; it must appear nowhere.
        client_growth_bytes: By how much the client's peak memory grew.
    """

    results: Sequence[ExecResult]
    duration_s: Sequence[float]
    workspace: Mapping[str, bytes]
    secret: str
    client_growth_bytes: int

    @property
    def output(self) -> str:
        """Everything that the programs wrote, stdout and stderr."""
        return "\n".join(result.stdout + "\n" + result.stderr for result in self.results)


Verdict = Callable[[Evidence], str]
"""What the attack reached; "" when it was stopped."""


@dataclass(frozen=True, slots=True)
class Step:
    """One execution of an attack.

    Attributes:
        code: Python source. It may use the constants of `HostTraps.constants`.
        keep_files: Whether its files are copied out into the workspace.
        limits: Under which limits it runs.
        files: Files given to it, relative path to contents.
    """

    code: str
    keep_files: bool = False
    limits: Limits = ATTACK_LIMITS
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attack:
    """An attempt to get out of a sandbox, past its limits, or at another task.

    Attributes:
        name: Identifier, unique in the suite.
        kind: Its class: "resources", "files", "secrets", "network", "processes", "kernel",
            "leftovers", "copying", "protocol" or "reward".
        goal: What it tries, in one line.
        steps: Executions in one sandbox, in order.
        verdict: An additional judgement; printed `REACHED` lines, leaked secrets and traces on the
            host count in any case.
    """

    name: str
    kind: str
    goal: str
    steps: tuple[Step, ...]
    verdict: Verdict = lambda _: ""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What became of one attack.

    Attributes:
        name: Name of the attack.
        kind: Its class.
        stopped: Whether it did not reach its goal.
        detail: What it reached; "" when it was stopped.
        duration_s: Wall-clock seconds, provisioning included.
    """

    name: str
    kind: str
    stopped: bool
    detail: str
    duration_s: float


def program(code: str, *, keep_files: bool = False, limits: Limits = ATTACK_LIMITS) -> Step:
    """Return a step that runs `code`, which may call `reached(text)` to report success."""
    return Step(code=code, keep_files=keep_files, limits=limits)


def said(evidence: Evidence) -> str:
    """Return what the programs say that they reached; "" when nothing."""
    lines = evidence.output.splitlines()
    return "; ".join(line.removeprefix(REACHED) for line in lines if line.startswith(REACHED))
