"""All attacks, by class."""

from agentevo_environments.conformance.attacks.programs import host, kernel, resources, tasks

ATTACKS = (*resources.ATTACKS, *host.ATTACKS, *kernel.ATTACKS, *tasks.ATTACKS)
"""Every attack of the suite."""
