"""The embedded sandbox: a fork server in namespaces, without a daemon."""

from agentevo_environments.sandboxes.embedded.sandbox import EmbeddedSandbox

__all__ = ["EmbeddedSandbox"]
