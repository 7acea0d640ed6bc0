"""Tiers: which ways of containing programs work on this machine, and what each one contains."""

import sys
from dataclasses import dataclass
from typing import Literal

from agentevo_environments.errors import SandboxError, SandboxUnavailableError
from agentevo_environments.sandboxes.base import DEFAULT_LIMITS, Containment, Program
from agentevo_environments.sandboxes.embedded.execution import Execution
from agentevo_environments.sandboxes.embedded.guest import seccomp
from agentevo_environments.sandboxes.embedded.launch import (
    Server,
    Settings,
    Tier,
    find_bubblewrap,
)
from agentevo_environments.sandboxes.embedded.layout import Layout
from agentevo_environments.sandboxes.embedded.request import encode_request
from agentevo_environments.sandboxes.embedded.slots import SlotPool, slot_count

TierChoice = Literal["auto", "T1", "T2", "T3", "T4"]
STRONGEST_FIRST: tuple[Tier, ...] = ("T1",)

CONFINED = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
SELF_CHECK = """
for line in open("/proc/self/status"):
    name, _, value = line.partition(":")
    if name in ("CapEff", "NoNewPrivs", "Seccomp"):
        print(name, value.strip())
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was asked for.

    Attributes:
        tier: A tier, or "auto".
        parallel: Number of programs at the same time, at most.
        allow_unsafe: Whether "auto" may end at T4.
        cgroups: Whether to use control groups.
    """

    tier: TierChoice
    parallel: int
    allow_unsafe: bool
    cgroups: bool


def start(choice: Choice, layout: Layout) -> tuple[Server, SlotPool]:
    """Start the first tier that is asked for and works.

    Raises:
        SandboxUnavailableError: None works; the message names what each one lacks.
    """
    wanted = STRONGEST_FIRST if choice.tier == "auto" else (choice.tier,)
    reasons = []
    for tier in wanted:
        try:
            return _start(tier, choice, layout)
        except SandboxUnavailableError as error:
            reasons.append(str(error))
    raise SandboxUnavailableError("; ".join(reasons))


def _start(tier: Tier, choice: Choice, layout: Layout) -> tuple[Server, SlotPool]:
    _require(tier)
    server = Server(Settings(tier, layout, slot_count(choice.parallel), choice.cgroups))
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


def _check_confinement(tier: Tier, pool: SlotPool) -> None:
    """Run a program that reads its own confinement from the kernel."""
    request = encode_request(Program(code=SELF_CHECK), {}, DEFAULT_LIMITS, keep_files=False)
    slot = pool.take()
    try:
        outcome = Execution(slot, DEFAULT_LIMITS, keep_files=False).run(request)
    finally:
        pool.give_back(slot)
    seen = dict(line.split(" ", 1) for line in outcome.output.decode().splitlines())
    if seen != CONFINED:
        raise SandboxError(
            f"a program found itself confined as {seen}, not as {CONFINED}:"
            f" {outcome.errors.decode(errors='replace')}"
        )


CONTAINS = {
    "T1": (
        "reading and writing host files",
        "host environment and secrets",
        "network, local sockets of the host",
        "host and other processes",
        "new privileges, namespaces and kernel interfaces",
        "number of processes",
        "files, inodes and size of what is written",
        "time, output and memory of one process",
        "files left for the next execution",
    ),
}


def containment(tier: Tier, *, groups: bool) -> Containment:
    """Return what a tier holds back, with or without control groups."""
    total = "total memory of all processes of an execution"
    missing = () if groups else (f"{total}: no writable memory control group",)
    return Containment("embedded", tier, CONTAINS[tier] + ((total,) if groups else ()), missing)
