"""All attacks, by class."""

from agentevo_environments.conformance.attacks.programs import (
    grading,
    host,
    kernel,
    leftovers,
    memory,
    running,
    space,
)

ATTACKS = (
    *running.ATTACKS,
    *memory.ATTACKS,
    *space.ATTACKS,
    *host.ATTACKS,
    *kernel.ATTACKS,
    *leftovers.ATTACKS,
    *grading.ATTACKS,
)
"""Every attack of the suite."""
