"""Executable contracts: checks that any environment or sandbox, built-in or third-party, must pass."""

from agentevo_environments.conformance.checks import ConformanceError
from agentevo_environments.conformance.environment import ENVIRONMENT_CHECKS, check_environment
from agentevo_environments.conformance.sandbox import SANDBOX_CHECKS, check_sandbox
from agentevo_environments.conformance.validation import Validation, validate

__all__ = [
    "ENVIRONMENT_CHECKS",
    "SANDBOX_CHECKS",
    "ConformanceError",
    "Validation",
    "check_environment",
    "check_sandbox",
    "validate",
]
