"""Entry: from the keeper's process into the place where the server runs, one way per tier.

T1 lets bubblewrap make the outer namespaces and the file system, T2 makes the same ones itself,
T3 and T4 stay where they are. A keeper that is root first shows the visible paths to others in a
private mount namespace (they may lie in folders that only root can enter) and then becomes an
unprivileged user: bubblewrap started by root would leave the sandbox with root's rights on the
files of /proc/sys.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import kernel, outer

STAGE = "/tmp"
DEVICES = ("null", "zero", "full", "random", "urandom")
INNER_ID = 1000
OTHERS_MAY_ENTER = 0o001
ENVIRONMENT = {"LD_BIND_NOW": "1"}
"""Symbols are looked up once, by the server, not by every program again."""
FOR_SERVER = ("tier", "control", "slots", "members", "packages", "python", "scratch")

Binds = Sequence[tuple[str, str]]


def enter(settings: Mapping[str, Any]) -> None:
    """Become the server; never returns.

    Args:
        settings: `tier`, `bwrap` (path), `uid` (to become, or None), `layout` (`binds` as pairs of
            a path outside and one inside, `symlinks` as pairs of a target and a path, `masks`),
            `packages`, `python`, `boot`, `control`, `slots`, `members`, `scratch`.

    Raises:
        OSError: A step failed; the message names it.
    """
    tier, layout = settings["tier"], settings["layout"]
    binds: Binds = [(source, target) for source, target in layout["binds"]]
    if settings["uid"] is not None:
        binds = show(binds, in_place=tier in {"T3", "T4"})
        become(settings["uid"])
    os.chdir("/")
    readable = [source for source, _ in binds]
    server = {key: settings[key] for key in FOR_SERVER}
    server |= {"readable": readable, "listable": layout["listable"]}
    interpreter = [settings["python"], "-I", "-S", "-B", "-X", "utf8"]
    command = [*interpreter, settings["boot"], "server", json.dumps(server)]
    if tier == "T1":
        command = [settings["bwrap"], *bubblewrap_arguments(layout, binds), *command]
    elif tier == "T2":
        outer.enter(layout, binds, DEVICES, INNER_ID)
    os.execve(command[0], command, ENVIRONMENT)


def become(uid: int) -> None:
    """Give up root for a user."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def show(binds: Binds, *, in_place: bool) -> Binds:
    """Make the sources of binds reachable for every user, unseen by other processes.

    Returns:
        The binds with the paths where the sources are now.
    """
    try:
        kernel.unshare(kernel.NEWNS)
    except PermissionError:
        return binds
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    opened = [
        (os.open(source, os.O_PATH | os.O_CLOEXEC), source, target) for source, target in binds
    ]
    shown = _show_in_place(opened) if in_place else _show_on_stage(opened)
    for descriptor, _, _ in opened:
        os.close(descriptor)
    return shown


def _show_on_stage(opened: Sequence[tuple[int, str, str]]) -> Binds:
    _cover(STAGE)
    shown = []
    for number, (descriptor, _, target) in enumerate(opened):
        _bind(descriptor, Path(STAGE, str(number)))
        shown.append((f"{STAGE}/{number}", target))
    return shown


def _show_in_place(opened: Sequence[tuple[int, str, str]]) -> Binds:
    """Replace each closed folder on the way to a source by one that holds only the sources."""
    closed = {source: _closed_folder(Path(source)) for _, source, _ in opened}
    for folder in {folder for folder in closed.values() if folder}:
        _cover(str(folder))
    for descriptor, source, _ in opened:
        if closed[source]:
            _bind(descriptor, Path(source))
    return [(source, target) for _, source, target in opened]


def _closed_folder(path: Path) -> Path | None:
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & OTHERS_MAY_ENTER:
            return folder
    return None


def _cover(folder: str) -> None:
    kernel.mount("tmpfs", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")


def _bind(descriptor: int, place: Path) -> None:
    source = f"/proc/self/fd/{descriptor}"
    place.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    kernel.mount(source, str(place), None, kernel.MS_BIND | kernel.MS_REC)


def bubblewrap_arguments(layout: Mapping[str, Any], binds: Binds) -> list[str]:
    """Return bubblewrap's arguments for the outer namespaces and the read-only file system."""
    inner = str(INNER_ID)
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    arguments += ["--unshare-uts", "--unshare-cgroup", "--uid", inner, "--gid", inner]
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
