"""The connection to the Docker daemon, with errors that say what to do."""

from typing import TYPE_CHECKING

from agentevo_environments.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from docker import DockerClient

CALL_TIMEOUT_S = 60
"""Longest wait for one answer of the daemon."""


def connect() -> "DockerClient":
    """Connect to the daemon of the environment (DOCKER_HOST, or the local socket).

    Raises:
        SandboxUnavailableError: The docker package is missing, or no daemon answers.
    """
    try:
        import docker
        from docker.errors import DockerException
    except ImportError as error:
        raise SandboxUnavailableError(
            "the docker sandbox needs the docker package: pip install docker"
        ) from error
    try:
        return docker.from_env(timeout=CALL_TIMEOUT_S)
    except DockerException as error:
        raise SandboxUnavailableError(
            f"no Docker daemon answers ({error}); start it with `dockerd` as root, or point "
            "DOCKER_HOST at a running one"
        ) from error
