"""The Docker backend: an offline image, a runner inside the container, and its client."""

from agentevo_environments.sandboxes.docker.reaper import gc
from agentevo_environments.sandboxes.docker.sandbox import DockerSandbox

__all__ = ["DockerSandbox", "gc"]
