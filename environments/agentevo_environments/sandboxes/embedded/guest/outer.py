"""Outer: the namespaces and the read-only file system around the server, made without bubblewrap.

What tier T2 does in place of bubblewrap, in the same order and with the same result.
"""

import ctypes
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentevo_environments.sandboxes.embedded.guest import kernel

NEW_ROOT = "/tmp"
NAMESPACES = (
    kernel.NEWUSER
    | kernel.NEWPID
    | kernel.NEWNS
    | kernel.NEWIPC
    | kernel.NEWUTS
    | kernel.NEWNET
    | kernel.NEWCGROUP
)
MOUNT_SETATTR = 442
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTRIBUTE_READ_ONLY, ATTRIBUTE_NOSUID, ATTRIBUTE_NODEV = 1, 2, 4


def enter(
    layout: Mapping[str, Any], binds: Sequence[tuple[str, str]], devices: Sequence[str], inner: int
) -> None:
    """Return in the first process of new namespaces, with only the layout's files visible.

    Args:
        layout: `symlinks` and `masks`, as for bubblewrap.
        binds: Pairs of a path outside and one inside.
        devices: Names in /dev.
        inner: User and group id inside.
    """
    uid, gid = os.getuid(), os.getgid()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.unshare(NAMESPACES)
    kernel.map_user(inner, inner, uid, gid)
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    _build(layout, binds, devices)
    os.chdir(NEW_ROOT)
    kernel.pivot_root(".", ".")
    kernel.unmount(".")
    os.chdir("/")
    kernel.drop_bounding_set()
    kernel.drop_capabilities()
    kernel.forbid_new_privileges()


def _build(
    layout: Mapping[str, Any], binds: Sequence[tuple[str, str]], devices: Sequence[str]
) -> None:
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    opened = [(_open(source), target) for source, target in binds]
    nodes = [(_open(f"/dev/{name}"), f"/dev/{name}") for name in devices]
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", NEW_ROOT, "tmpfs", flags, "mode=755")
    for descriptor, target in opened:
        _set_read_only(_bind(descriptor, target))
    for target, path in layout["symlinks"]:
        Path(NEW_ROOT + path).parent.mkdir(parents=True, exist_ok=True)
        Path(NEW_ROOT + path).symlink_to(target)
    for path in layout["masks"]:
        kernel.mount("tmpfs", NEW_ROOT + path, "tmpfs", flags | kernel.MS_RDONLY)
    for folder in ("/proc", "/tmp", "/dev/shm"):
        Path(NEW_ROOT + folder).mkdir(parents=True)
    kernel.mount("proc", f"{NEW_ROOT}/proc", "proc", flags | kernel.MS_NOEXEC)
    for descriptor, target in nodes:
        _bind(descriptor, target)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        Path(f"{NEW_ROOT}/dev/{name}").symlink_to(f"/proc/self/fd/{number}")
    Path(f"{NEW_ROOT}/dev/fd").symlink_to("/proc/self/fd")
    kernel.mount("none", NEW_ROOT, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags | 1)


def _open(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _bind(descriptor: int, target: str) -> str:
    source = f"/proc/self/fd/{descriptor}"
    place = Path(NEW_ROOT + target)
    place.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        place.mkdir()
    else:
        place.touch()
    kernel.mount(source, str(place), None, kernel.MS_BIND | kernel.MS_REC)
    os.close(descriptor)
    return str(place)


def _set_read_only(path: str) -> None:
    wanted = ATTRIBUTE_READ_ONLY | ATTRIBUTE_NOSUID | ATTRIBUTE_NODEV
    attributes = struct.pack("=QQQQ", wanted, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    kernel.syscall(
        f"mount_setattr {path}",
        MOUNT_SETATTR,
        AT_FDCWD,
        os.fsencode(path),
        AT_RECURSIVE,
        buffer,
        len(attributes),
    )
