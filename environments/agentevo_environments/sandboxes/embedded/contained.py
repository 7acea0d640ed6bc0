"""Contained: what each tier of the embedded sandbox holds back, and what it does not."""

from agentevo_environments.sandboxes.base import Containment
from agentevo_environments.sandboxes.embedded.launch import Tier

PROGRAM = ("time", "output", "memory of one process", "size of one file", "open files")
TOTAL_MEMORY = "memory of all processes together"
NAMESPACED = (
    *PROGRAM,
    "reading and writing of host files",
    "host environment and secrets",
    "network and local sockets of the host",
    "signals to and tracing of other processes",
    "processes left behind",
    "new privileges, namespaces and kernel interfaces",
    "number of processes",
    "number and total size of files",
    "files left for the next execution",
)
LANDLOCKED = (
    *PROGRAM,
    "reading and writing of host files, /proc included",
    "host environment and secrets",
    "network and local sockets of the host",
    "tracing of other processes",
    "processes left behind",
    "new privileges, namespaces and kernel interfaces",
    "files left for the next execution",
)
LANDLOCK_GAPS = (
    "number and total size of files: no file system of its own",
    "signals to other processes of the same user: contained only from Landlock 6 (Linux 6.12) on",
    "number of processes: counted together with the user's other processes",
    "existence and attributes of host files (stat): not covered by Landlock",
)
UNSAFE_GAPS = (
    "reading and writing of host files: runs as an ordinary process",
    "host secrets in files: readable as far as the user may",
    "network and local sockets: open",
    "signals to and tracing of the same user's processes: possible",
    "kernel interfaces: no system-call filter",
    "number and total size of files: no file system of its own",
    "number of processes: counted together with the user's other processes",
    "files left for the next execution: what lies outside its own folder stays, and so do System V"
    " and POSIX objects",
)
PARTS: dict[Tier, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "T1": (NAMESPACED, ()),
    "T2": (NAMESPACED, ()),
    "T3": (LANDLOCKED, LANDLOCK_GAPS),
    "T4": ((*PROGRAM, "processes left behind"), UNSAFE_GAPS),
}


def containment(tier: Tier, *, groups: bool) -> Containment:
    """Return what a tier holds back.

    Args:
        tier: The tier that runs.
        groups: Whether control groups limit total memory.
    """
    contains, gaps = PARTS[tier]
    if groups:
        return Containment("embedded", tier, (*contains, TOTAL_MEMORY), gaps)
    missing = f"{TOTAL_MEMORY}: no memory control group is writable here"
    return Containment("embedded", tier, contains, (*gaps, missing))
