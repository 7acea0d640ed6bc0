"""Trying attacks on a sandbox: set the traps, run the steps, judge."""

import resource
import time
from collections.abc import Callable, Iterable, Sequence

from agentevo_environments.conformance.attacks.attack import (
    ATTACK_LIMITS,
    Attack,
    AttackResult,
    Evidence,
    said,
)
from agentevo_environments.conformance.attacks.catalogue import ATTACKS
from agentevo_environments.conformance.attacks.traps import HostTraps, host_traps
from agentevo_environments.errors import SandboxError
from agentevo_environments.sandboxes.base import ExecResult, Program, Sandbox, provision

_PRELUDE = """
def reached(text):
    import os
    os.write(1, ("\\nREACHED " + str(text) + "\\n").encode("utf-8", "replace"))
"""


def run_attacks(
    factory: Callable[[], Sandbox], attacks: Iterable[Attack] = ATTACKS
) -> list[AttackResult]:
    """Try attacks, each on a sandbox of its own.

    Args:
        factory: Makes a sandbox that is not started.
        attacks: Which attacks, by default all.

    Returns:
        One result per attack, in order.

    Raises:
        SandboxUnavailableError: The sandbox cannot run here.
    """
    return [run_attack(attack, factory) for attack in attacks]


def run_attack(attack: Attack, factory: Callable[[], Sandbox]) -> AttackResult:
    """Try one attack on a fresh sandbox.

    Args:
        attack: What to try.
        factory: Makes a sandbox that is not started.

    Raises:
        SandboxUnavailableError: The sandbox cannot run here.
    """
    started = time.monotonic()
    with host_traps() as traps:
        with provision(factory()) as sandbox:
            detail = _try(attack, sandbox, traps)
        detail = "; ".join([part for part in (detail, *traps.traces()) if part])
    return AttackResult(
        name=attack.name,
        kind=attack.kind,
        stopped=not detail,
        detail=detail,
        duration_s=time.monotonic() - started,
    )


def _try(attack: Attack, sandbox: Sandbox, traps: HostTraps) -> str:
    """Run the steps and return what the attack reached."""
    try:
        # Before as well: what a sandbox prepares for these limits is no part of the attack.
        if broken := _broken(sandbox):
            return broken
        memory_before = _peak_memory_bytes()
        results, durations = _run_steps(attack, sandbox, traps)
        evidence = Evidence(
            results=results,
            duration_s=durations,
            workspace={path: sandbox.get(path) for path in sandbox.workspace()},
            secret=traps.secret,
            client_growth_bytes=_peak_memory_bytes() - memory_before,
        )
        findings = [said(evidence), _leaked(evidence), attack.verdict(evidence), *traps.traces()]
        findings.append(_broken(sandbox))
    except SandboxError as error:
        return f"the sandbox broke: {error}"
    return "; ".join(finding for finding in findings if finding)


def _run_steps(
    attack: Attack, sandbox: Sandbox, traps: HostTraps
) -> tuple[Sequence[ExecResult], Sequence[float]]:
    results, durations = [], []
    for step in attack.steps:
        program = Program(code=traps.constants() + _PRELUDE + step.code, files=step.files)
        before = time.monotonic()
        results.append(sandbox.exec(program, limits=step.limits, keep_files=step.keep_files))
        durations.append(time.monotonic() - before)
    return results, durations


def _leaked(evidence: Evidence) -> str:
    if evidence.secret in evidence.output:
        return "the host's secret was read"
    if any(evidence.secret.encode() in data for data in evidence.workspace.values()):
        return "the host's secret was copied out"
    return ""


def _broken(sandbox: Sandbox) -> str:
    """Return how the sandbox fails an honest program afterwards; "" when it does not."""
    result = sandbox.exec(Program(code="print(6 * 7)"), limits=ATTACK_LIMITS)
    if result.ok and result.stdout == "42\n" and not result.stderr:
        return ""
    return f"an honest program fails: {result.ending}, {result.stdout!r}, {result.stderr!r}"


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
