"""Owner labels on containers, and the removal of containers whose owner is gone.

A container ends by itself when its client's connection closes. The reaper covers what that
cannot: a daemon that was down at that moment, or a machine that restarted.
"""

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker import DockerClient

LABEL_SANDBOX = "agentevo.sandbox"
LABEL_RUN = "agentevo.sandbox.run"
LABEL_PID = "agentevo.sandbox.owner_pid"
LABEL_STARTED = "agentevo.sandbox.owner_started"
LABEL_BOOT = "agentevo.sandbox.boot"
LABEL_EXPIRES = "agentevo.sandbox.expires"


def owner_labels(*, run_id: str = "", lifetime_s: float) -> dict[str, str]:
    """Return the labels that name this process as the owner of a container.

    Args:
        run_id: What the container works for; a fresh id when empty.
        lifetime_s: Seconds after which the container may be removed although its owner lives.
    """
    return {
        LABEL_SANDBOX: "1",
        LABEL_RUN: run_id or uuid.uuid4().hex,
        LABEL_PID: str(os.getpid()),
        LABEL_STARTED: _started(os.getpid()),
        LABEL_BOOT: _boot_id(),
        LABEL_EXPIRES: str(int(time.time() + lifetime_s)),
    }


def is_stale(labels: Mapping[str, str], *, now: float | None = None) -> bool:
    """Tell whether a container's owner is gone, or its time is over.

    A container of another machine or process namespace (a shared daemon) is judged by its
    expiry only, because its owner cannot be seen from here.
    """
    expires = labels.get(LABEL_EXPIRES, "0")
    if not expires.isdigit() or int(expires) < (time.time() if now is None else now):
        return True
    if labels.get(LABEL_BOOT) != _boot_id():
        return False
    pid = labels.get(LABEL_PID, "")
    return not pid.isdigit() or _started(int(pid)) != labels.get(LABEL_STARTED)


def gc(client: "DockerClient | None" = None) -> list[str]:
    """Remove the sandbox containers whose owner is gone or whose time is over.

    Args:
        client: Connection to the daemon; by default the one of the environment variables.

    Returns:
        The names of the removed containers, sorted.

    Raises:
        SandboxUnavailableError: No daemon answers.
    """
    from agentevo_environments.sandboxes.docker.daemon import connect

    if client is not None:
        return _remove_stale(client)
    client = connect()
    try:
        return _remove_stale(client)
    finally:
        client.close()


def _remove_stale(client: "DockerClient") -> list[str]:
    from docker.errors import APIError

    removed = []
    for entry in client.api.containers(all=True, filters={"label": LABEL_SANDBOX}):
        if not is_stale(entry["Labels"]):
            continue
        try:
            client.api.remove_container(entry["Id"], force=True, v=True)
        except APIError as error:
            if error.status_code not in (404, 409):
                raise
        removed.append(str(entry["Names"][0]).lstrip("/"))
    return sorted(removed)


def _started(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; "" when it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _boot_id() -> str:
    """Return an id of this boot and this process namespace, in which process ids have meaning."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return f"{os.uname().nodename}-{uuid.getnode():x}"
    return f"{boot} {namespace}"
