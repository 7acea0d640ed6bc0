"""Entry: from the keeper's process into the place where the server runs, one way per tier.

T1 lets bubblewrap make the outer namespaces and the file system; T2 makes the same ones itself.
A keeper that is root first copies the visible paths into a private mount namespace (they may lie
in folders that only root can enter) and then becomes an unprivileged user: bubblewrap started by
root would leave the sandbox with root's rights on the files of /proc/sys.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import kernel

STAGE = "/tmp"
DEVICES = ("null", "zero", "full", "random", "urandom")
INNER_ID = 1000


def enter(settings: Mapping[str, Any]) -> None:
    """Become the server; never returns.

    Args:
        settings: `tier`, `bwrap` (path), `uid` (to become, or None), `layout` (`binds` as pairs of
            a path outside and one inside, `symlinks` as pairs of a target and a path, `masks`,
            `packages`), `python`, `boot`, `control`, `members`.

    Raises:
        OSError: A step failed; the message names it.
    """
    binds = [(source, target) for source, target in settings["layout"]["binds"]]
    if settings["uid"] is not None:
        binds = _stage(binds)
        os.setgroups([])
        os.setresgid(settings["uid"], settings["uid"], settings["uid"])
        os.setresuid(settings["uid"], settings["uid"], settings["uid"])
    os.chdir("/")
    server = _server_command(settings)
    arguments = bubblewrap_arguments(settings["layout"], binds)
    os.execve(settings["bwrap"], [settings["bwrap"], *arguments, *server], {})


def _stage(binds: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Bind every visible path into a folder that any user can enter, unseen by other processes."""
    kernel.unshare(kernel.NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    opened = [(os.open(source, os.O_PATH | os.O_CLOEXEC), target) for source, target in binds]
    kernel.mount("tmpfs", STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    staged = []
    for number, (descriptor, target) in enumerate(opened):
        place = Path(STAGE, str(number))
        source = f"/proc/self/fd/{descriptor}"
        if Path(source).is_dir():
            place.mkdir()
        else:
            place.touch()
        kernel.mount(source, str(place), None, kernel.MS_BIND | kernel.MS_REC)
        os.close(descriptor)
        staged.append((str(place), target))
    return staged


def _server_command(settings: Mapping[str, Any]) -> list[str]:
    server = {key: settings[key] for key in ("tier", "control", "members", "packages", "python")}
    interpreter = [settings["python"], "-I", "-S", "-B", "-X", "utf8"]
    return [*interpreter, settings["boot"], "server", json.dumps(server)]


def bubblewrap_arguments(layout: Mapping[str, Any], binds: Sequence[tuple[str, str]]) -> list[str]:
    """Return bubblewrap's arguments for the outer namespaces and the read-only file system."""
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    arguments += [
        "--unshare-uts",
        "--unshare-cgroup",
        "--uid",
        str(INNER_ID),
        "--gid",
        str(INNER_ID),
    ]
    arguments += ["--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox"]
    for source, target in binds:
        arguments += ["--ro-bind", source, target]
    for target, path in layout["symlinks"]:
        arguments += ["--symlink", target, path]
    for path in layout["masks"]:
        arguments += ["--tmpfs", path, "--remount-ro", path]
    arguments += ["--proc", "/proc", "--dir", "/tmp", "--tmpfs", "/dev", "--dir", "/dev/shm"]
    for device in DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        arguments += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    arguments += ["--symlink", "/proc/self/fd", "/dev/fd"]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--"]
