"""The connection to the Docker daemon, with errors that say what to do."""

import os
import socket
from typing import TYPE_CHECKING

from agentevo_environments.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from docker import DockerClient

LOCAL_DAEMON = "unix:///var/run/docker.sock"

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
        _knock(os.environ.get("DOCKER_HOST") or LOCAL_DAEMON)
        return docker.from_env(timeout=CALL_TIMEOUT_S)
    except (DockerException, OSError) as error:
        raise SandboxUnavailableError(
            f"no Docker daemon answers ({error}); start it with `dockerd` as root, or point "
            "DOCKER_HOST at a running one"
        ) from error


def _knock(address: str) -> None:
    """Fail early where nothing listens; the client library leaks a socket when it finds out."""
    scheme, _, path = address.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(CALL_TIMEOUT_S)
            visitor.connect(path)
