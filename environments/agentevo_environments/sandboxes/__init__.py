"""Sandbox backends; `base` holds the contract, `make_sandbox` finds a backend by name."""

from agentevo_environments.sandboxes.table import SANDBOXES, make_sandbox

__all__ = ["SANDBOXES", "make_sandbox"]
