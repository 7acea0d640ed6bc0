"""Slot: what the processes of one slot share: the server's template and the slot's channels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from agentevo_environments.sandboxes.embedded.guest.seccomp import Filter

READY = b"R"
STARTED, STARTED_KEEPING = b"s", b"k"
STANDARD = frozenset((0, 1, 2))
LARGEST_DESCRIPTOR = 1 << 20


@dataclass(frozen=True, slots=True)
class Template:
    """What all slots of a server have in common.

    Attributes:
        tier: The tier of the sandbox.
        members: For every slot, descriptors of the control groups to join.
        packages: Folders that programs may import from.
        python: The interpreter.
        filter: The system calls that programs may not make.
    """

    tier: str
    members: Sequence[Sequence[int]]
    packages: Sequence[str]
    python: str
    filter: Filter


@dataclass(frozen=True, slots=True)
class Channels:
    """A slot's ends of its channels: the socket to the client, standard output, standard error."""

    client: int
    output: int
    errors: int


def close_all_but(*descriptors: int) -> None:
    """Close every descriptor but the given ones and the three standard ones."""
    kept = sorted(STANDARD.union(descriptors))
    for low, high in zip((-1, *kept), (*kept, LARGEST_DESCRIPTOR), strict=True):
        if low + 1 < high:
            os.closerange(low + 1, high)
