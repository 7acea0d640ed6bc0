"""How a container is made: the restrictions of the daemon, and the program that runs inside."""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevo_environments.sandboxes.base import Limits
from agentevo_environments.sandboxes.docker import reaper

if TYPE_CHECKING:
    from docker import DockerClient

RUNNER_BYTES = 32 << 20
"""Memory that the runner may use, on top of what the limits give to executions."""

_SHARED_MEMORY_BYTES = 4 << 20
_SHARED_MEMORY_FILES = 64
_RUNNER_PROCESSES = 16
_RUNNER_OPEN_FILES = 1024
_OWN_FOLDERS = 2
_PACKAGES = (
    "agentevo_environments",
    "agentevo_environments.sandboxes",
    "agentevo_environments.sandboxes.docker",
    "agentevo_environments.sandboxes.embedded",
    "agentevo_environments.sandboxes.embedded.guest",
)
_MODULES = (
    "agentevo_environments.errors",
    "agentevo_environments.sandboxes.protocol",
    "agentevo_environments.sandboxes.embedded.guest.kernel",
    "agentevo_environments.sandboxes.embedded.guest.seccomp",
    "agentevo_environments.sandboxes.embedded.guest.source",
    "agentevo_environments.sandboxes.embedded.guest.harvest",
    "agentevo_environments.sandboxes.docker.program",
    "agentevo_environments.sandboxes.docker.leftovers",
    "agentevo_environments.sandboxes.docker.zygote",
    "agentevo_environments.sandboxes.docker.runner",
)
_BOOT = """
import os, sys, types
if sys.version_info < (3, 11):
    sys.exit("the image has Python " + sys.version.split()[0] + ", the runner needs 3.11 or newer")
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
import json
for name, source in json.loads(read(int.from_bytes(read(4), "big"))):
    module = types.ModuleType(name)
    module.__file__ = name
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""
_CAPABILITIES = ["SETGID", "SETUID"]
_SYSCTLS = {
    "fs.mqueue.queues_max": "0",
    "kernel.msgmni": "0",
    "kernel.sem": "0 0 0 0",
    "kernel.shmmni": "0",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What of the limits is a property of the container, not of an execution in it.

    Attributes:
        memory_bytes: Memory of all processes together.
        processes: Number of processes.
        disk_bytes: Size of all files.
        files: Number of files.
    """

    memory_bytes: int
    processes: int
    disk_bytes: int
    files: int

    @classmethod
    def of(cls, limits: Limits) -> "Shape":
        """Return the shape that enforces these limits."""
        return cls(limits.memory_bytes, limits.processes, limits.disk_bytes, limits.files)


@dataclass(frozen=True, slots=True)
class Settings:
    """How containers are made.

    Attributes:
        image: Id or name of an image that the daemon has, with Python 3.11 or newer.
        runtime: Name of the daemon's runtime, such as "runsc"; the default one when None.
        cpus: Processors that a container may use; all when None.
        run_id: What the containers work for, in their labels.
        lifetime_s: Seconds after which the reaper may remove a container.
    """

    image: str
    runtime: str | None = None
    cpus: float | None = None
    run_id: str = ""
    lifetime_s: float = 24 * 3600.0


def create_container(client: "DockerClient", settings: Settings, shape: Shape) -> str:
    """Create a container, and return its id.

    It has no network, a read-only root, no capabilities but those the runner needs to become
    another user, no way to gain any, no swap, no log, and no writable place but two tmpfs.

    Raises:
        docker.errors.APIError: The daemon refuses.
    """
    created = client.api.create_container(
        settings.image,
        entrypoint=["python3", "-I", "-B", "-X", "utf8", "-c", _BOOT],
        command=[],
        environment={"LD_BIND_NOW": "1"},  # symbols are looked up once, not in every execution
        user="0:0",
        working_dir="/",
        hostname="sandbox",
        stdin_open=True,
        network_disabled=True,
        labels=reaper.owner_labels(run_id=settings.run_id, lifetime_s=settings.lifetime_s),
        host_config=client.api.create_host_config(**_host_options(settings, shape)),
    )
    return str(created["Id"])


def _host_options(settings: Settings, shape: Shape) -> dict[str, Any]:
    from docker.types import Ulimit

    # What is written to a tmpfs is charged to the container's memory.
    memory = shape.memory_bytes + shape.disk_bytes + RUNNER_BYTES
    options: dict[str, Any] = {
        "auto_remove": True,
        "cap_add": _CAPABILITIES,
        "cap_drop": ["ALL"],
        "ipc_mode": "private",
        "log_config": {"type": "none"},
        "mem_limit": memory,
        "memswap_limit": memory,
        "network_mode": "none",
        "pids_limit": shape.processes + _RUNNER_PROCESSES,
        "read_only": True,
        "security_opt": ["no-new-privileges"],
        "tmpfs": _writable_folders(shape),
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
    }
    if settings.runtime:
        options["runtime"] = settings.runtime
    else:
        options["sysctls"] = _SYSCTLS
    if settings.cpus:
        options["nano_cpus"] = int(settings.cpus * 1e9)
    return options


def _writable_folders(shape: Shape) -> dict[str, str]:
    shared_bytes = min(_SHARED_MEMORY_BYTES, shape.disk_bytes // 4)
    shared_files = min(_SHARED_MEMORY_FILES, shape.files)
    disk_bytes, files = shape.disk_bytes - shared_bytes, shape.files + _OWN_FOLDERS
    common = "rw,nosuid,nodev,mode=1777"
    return {
        "/tmp": f"{common},exec,size={disk_bytes},nr_inodes={files}",
        "/dev/shm": f"{common},noexec,size={shared_bytes},nr_inodes={shared_files}",
    }


@cache
def boot_message() -> bytes:
    """Return what the container's process 1 reads first: the sources of the runner."""
    sources = [(name, "") for name in _PACKAGES] + [(name, _source(name)) for name in _MODULES]
    document = json.dumps(sources).encode()
    return len(document).to_bytes(4, "big") + document


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the source of {name} is not installed")
    return Path(spec.origin).read_text(encoding="utf-8")
