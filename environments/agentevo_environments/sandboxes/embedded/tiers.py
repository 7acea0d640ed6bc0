"""Tiers: which ways of containing programs work on this machine, and how they are probed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentevo_environments.errors import SandboxError, SandboxUnavailableError
from agentevo_environments.sandboxes.base import DEFAULT_LIMITS, Program
from agentevo_environments.sandboxes.embedded.execution import Execution
from agentevo_environments.sandboxes.embedded.guest import landlock, seccomp
from agentevo_environments.sandboxes.embedded.launch import (
    Server,
    Settings,
    Tier,
    find_bubblewrap,
)
from agentevo_environments.sandboxes.embedded.layout import (
    Layout,
    make_layout,
    without_own_root,
)
from agentevo_environments.sandboxes.embedded.request import encode_request
from agentevo_environments.sandboxes.embedded.slots import SlotPool, slot_count

TierChoice = Literal["auto", "T1", "T2", "T3", "T4"]
STRONGEST_FIRST: tuple[Tier, ...] = ("T1", "T2", "T3")
UNSAFE: Tier = "T4"

UNPRIVILEGED = {"CapEff": "0000000000000000", "NoNewPrivs": "1"}
FILTERED = {**UNPRIVILEGED, "Seccomp": "2"}
SELF_CHECK = """
try:
    for line in open("/proc/self/status"):
        name, _, value = line.partition(":")
        if name in ("CapEff", "NoNewPrivs", "Seccomp"):
            print(name, value.strip())
except PermissionError:
    print("Files", "restricted")
"""
EXPECTED: dict[Tier, dict[str, str]] = {
    "T1": FILTERED,
    "T2": FILTERED,
    "T3": {"Files": "restricted"},
    "T4": {**UNPRIVILEGED, "Seccomp": "0"},
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for.

    Attributes:
        tier: A tier, or "auto".
        packages: Folders that programs may import from.
        parallel: Number of programs at the same time, at most.
        allow_unsafe: Whether T4 may be used.
        cgroups: Whether to use control groups.
    """

    tier: TierChoice
    packages: tuple[str | Path, ...]
    parallel: int
    allow_unsafe: bool
    cgroups: bool


def start(choice: Choice) -> tuple[Server, SlotPool]:
    """Start the first tier that is asked for and works.

    Raises:
        SandboxUnavailableError: None works; the message names what each one lacks.
    """
    layout = make_layout(choice.packages)
    wanted = STRONGEST_FIRST if choice.tier == "auto" else (choice.tier,)
    if choice.tier == "auto" and choice.allow_unsafe:
        wanted = (*wanted, UNSAFE)
    if choice.tier == UNSAFE and not choice.allow_unsafe:
        raise SandboxUnavailableError(
            "tier T4 contains almost nothing: give allow_unsafe=True to use it all the same"
        )
    reasons = []
    for tier in wanted:
        try:
            return _start(tier, choice, layout)
        except SandboxUnavailableError as error:
            reasons.append(str(error))
    raise SandboxUnavailableError(
        "the embedded sandbox cannot contain programs here; "
        + "; ".join(reasons)
        + "; install bubblewrap or use the docker sandbox"
    )


def _start(tier: Tier, choice: Choice, layout: Layout) -> tuple[Server, SlotPool]:
    _require(tier)
    visible = layout if tier in {"T1", "T2"} else without_own_root(layout, choice.packages)
    server = Server(Settings(tier, visible, slot_count(choice.parallel), choice.cgroups))
    pool = SlotPool(server, choice.parallel)
    try:
        _check_confinement(tier, pool)
        pool.warm_up()
    except BaseException as error:
        pool.close()
        server.close()
        if isinstance(error, SandboxError):
            raise SandboxUnavailableError(f"tier {tier} does not work here: {error}") from error
        raise
    return server, pool


def _require(tier: Tier) -> None:
    """Raise SandboxUnavailableError, with what to install, when a tier cannot work."""
    if not sys.platform.startswith("linux"):
        raise SandboxUnavailableError(
            f"tier {tier} needs Linux, this is {sys.platform}: use the docker sandbox"
        )
    if not seccomp.is_supported():
        raise SandboxUnavailableError(
            f"tier {tier} knows the system calls of {', '.join(seccomp.ARCHITECTURES)} only:"
            " use the docker sandbox"
        )
    if tier == "T1" and find_bubblewrap() is None:
        raise SandboxUnavailableError(
            "tier T1 needs bubblewrap: apt-get install bubblewrap (or dnf install bubblewrap)"
        )
    if tier == "T3" and landlock.version() == 0:
        raise SandboxUnavailableError(
            "tier T3 needs Landlock: Linux 5.13 or later with 'landlock' among the security modules"
        )


def _check_confinement(tier: Tier, pool: SlotPool) -> None:
    """Run a program that reads its own confinement from the kernel."""
    request = encode_request(Program(code=SELF_CHECK), {}, DEFAULT_LIMITS)
    slot = pool.take()
    try:
        outcome = Execution(slot, DEFAULT_LIMITS, keep_files=False).run(request)
    finally:
        pool.give_back(slot)
    seen = dict(line.split(" ", 1) for line in outcome.output.text().splitlines())
    if seen != EXPECTED[tier]:
        raise SandboxError(
            f"a program found itself confined as {seen}, not as {EXPECTED[tier]}:"
            f" {outcome.failed or outcome.errors.text()}"
        )
