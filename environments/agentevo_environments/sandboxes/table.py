"""The name table of sandboxes: from a name in a configuration to an object, imported when used."""

import importlib
from typing import Any

from agentevo_environments.errors import SandboxUnavailableError, UnknownNameError
from agentevo_environments.sandboxes.base import Sandbox

SANDBOXES = {
    "docker": "agentevo_environments.sandboxes.docker:DockerSandbox",
    "embedded": "agentevo_environments.sandboxes.embedded:EmbeddedSandbox",
    "monty": "agentevo_environments.sandboxes.monty:MontySandbox",
}
"""Where each backend's class is."""


def make_sandbox(kind: str = "embedded", **options: Any) -> Sandbox:
    """Return a new sandbox, not yet started.

    Args:
        kind: A name of `SANDBOXES`.
        options: Arguments of the backend's class.

    Raises:
        UnknownNameError: There is no such backend; the message lists those that exist.
        SandboxUnavailableError: The backend needs a package that is not installed.
    """
    try:
        module, _, name = SANDBOXES[kind].partition(":")
    except KeyError:
        raise UnknownNameError(
            f"unknown sandbox {kind!r}; available: {', '.join(sorted(SANDBOXES))}"
        ) from None
    try:
        backend = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise SandboxUnavailableError(
            f'the {kind} sandbox needs the package {error.name!r}: pip install "agentevo[{kind}]"'
        ) from error
    sandbox: Sandbox = backend(**options)
    return sandbox
