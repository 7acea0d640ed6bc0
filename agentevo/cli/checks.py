"""What `agentevo doctor` looks at; each check says what it found and what to do next."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentevo.config import Settings
from agentevo.errors import AgentevoError
from agentevo_environments.errors import EnvironmentsError

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about this machine.

    Attributes:
        id: What was looked at.
        status: "ok"; "warn", something optional is missing; "fail", agentevo does not work so.
        detail: What was found.
        next_step: What to do about it; "" when there is nothing to do.
    """

    id: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    next_step: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Return all findings, in a fixed order. Nothing is changed on the machine."""
    checks: Sequence[Callable[[Settings], Check]] = (
        _python,
        _kernel,
        _user_namespaces,
        _cgroup,
        _bubblewrap,
        _docker,
        _disk,
        _data_folder,
        _model,
        _sandbox,
    )
    return [check(settings) for check in checks]


def _python(_settings: Settings) -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _kernel(_settings: Settings) -> Check:
    detail = f"{platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() == "Linux":
        return Check("kernel", "ok", detail)
    return Check("kernel", "fail", detail, "sandboxes need Linux; use a virtual machine or WSL 2")


def _user_namespaces(_settings: Settings) -> Check:
    name = "user namespaces"
    unshare = shutil.which("unshare")
    if unshare is None:
        return Check(name, "warn", "unknown: no unshare program", "install util-linux")
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "true"], check=False, capture_output=True
    )
    if done.returncode == 0:
        return Check(name, "ok", "a new one can be made")
    said = done.stderr.decode(errors="replace").strip()
    if os.geteuid() == 0:
        return Check(name, "ok", f"not available ({said}), and not needed by root")
    step = "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000"
    return Check(name, "warn", said, step)


def _cgroup(_settings: Settings) -> Check:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        version, folder = "v2", root
    elif (root / "memory").is_dir():
        version, folder = "v1", root / "memory"
    else:
        step = "mount cgroups; without them memory is limited per process only"
        return Check("cgroup", "warn", "no memory controller", step)
    if os.access(folder, os.W_OK):
        return Check("cgroup", "ok", f"{version}, writable")
    step = "run under `systemd-run --user --scope -p Delegate=yes`, or as root"
    return Check("cgroup", "warn", f"{version}, not writable; memory limits are per process", step)


def _bubblewrap(_settings: Settings) -> Check:
    path = shutil.which("bwrap")
    if path is None:
        return Check("bubblewrap", "warn", "not installed", "apt-get install bubblewrap")
    done = subprocess.run([path, "--version"], check=False, capture_output=True, text=True)
    return Check("bubblewrap", "ok", f"{done.stdout.strip()} at {path}")


def _docker(_settings: Settings) -> Check:
    import docker

    try:
        client = docker.from_env(timeout=5)
        version = client.version()["Version"]
        client.close()
    except (docker.errors.DockerException, OSError) as error:
        step = "start dockerd (and join the group docker) for the Docker sandbox"
        return Check("docker", "warn", str(error).split("\n")[0][:200], step)
    return Check("docker", "ok", f"daemon {version}")


def _disk(settings: Settings) -> Check:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / _GIB:.1f} GiB free at {folder}"
    if free < _GIB // 4:
        return Check("disk", "fail", detail, "free at least 0.25 GiB, or choose another --home")
    if free < 2 * _GIB:
        return Check("disk", "warn", detail, "runs with long texts may need more than this")
    return Check("disk", "ok", detail)


def _data_folder(settings: Settings) -> Check:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check("data folder", "ok", str(settings.home))
    step = f"make {str(folder)!r} a writable folder, or choose another --home"
    return Check("data folder", "fail", f"cannot write to {str(folder)!r}", step)


def _model(settings: Settings) -> Check:
    from agentevo.runtime import model_of

    spec = settings.model.spec
    try:
        model_of(settings)
    except (AgentevoError, OSError) as error:
        return Check("model", "fail", str(error), "choose another with --set model.spec=...")
    return Check("model", "ok", spec)


def _sandbox(settings: Settings) -> Check:
    from agentevo.runtime import sandbox_of
    from agentevo_environments.sandboxes.base import provision

    try:
        with provision(sandbox_of(settings)) as sandbox:
            held = sandbox.containment
    except EnvironmentsError as error:
        return Check("sandbox", "fail", str(error), "choose another with --set sandbox.backend=...")
    detail = f"{held.backend}, tier {held.tier}, holds back {len(held.contains)} kinds of attack"
    if held.not_contained:
        return Check("sandbox", "warn", detail, "not held back: " + "; ".join(held.not_contained))
    return Check("sandbox", "ok", detail)
