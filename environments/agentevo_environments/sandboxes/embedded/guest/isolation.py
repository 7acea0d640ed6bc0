"""Isolation: the namespaces and mounts of one slot, made before its program is known."""

import os
from pathlib import Path

from agentevo_environments.sandboxes.embedded.guest import kernel

WORK = "/tmp/work"
NAMESPACES = (
    kernel.NEWUSER | kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC | kernel.NEWUTS | kernel.NEWNET
)
READ_ONLY_PARTS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
HIDDEN_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
OWN_FOLDERS = 4


def enter_namespaces() -> None:
    """Unshare everything; the next child is the first process of the new pid namespace."""
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(NAMESPACES)
    kernel.map_user(uid, gid, uid, gid)


def mount_private_files() -> None:
    """Give the slot its own /tmp, /dev/shm and /proc and go to the working directory.

    /tmp and /dev/shm are two folders of one memory file system, so that one limit holds for both;
    nothing in /dev/shm can be executed.
    """
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", flags, "mode=755")
    for folder in ("/dev/shm/tmp", "/dev/shm/shm"):
        Path(folder).mkdir()
        Path(folder).chmod(0o1777)
    kernel.mount("/dev/shm/tmp", "/tmp", None, kernel.MS_BIND)
    kernel.mount("/dev/shm/shm", "/dev/shm", None, kernel.MS_BIND)
    _change("/dev/shm", HIDDEN_FLAGS)
    kernel.mount("proc", "/proc", "proc", HIDDEN_FLAGS)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    for part in READ_ONLY_PARTS:
        if Path(part).exists():
            kernel.mount(part, part, None, kernel.MS_BIND | kernel.MS_REC)
            _change(part, HIDDEN_FLAGS | kernel.MS_RDONLY)
    Path(WORK).mkdir()
    os.chdir(WORK)


def limit_disk(disk_bytes: int, files: int) -> None:
    """Set how much the program may write in total, and into how many files and folders."""
    kernel.mount(
        "tmpfs",
        "/tmp",
        None,
        kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV,
        f"size={disk_bytes},nr_inodes={files + OWN_FOLDERS}",
    )


def _change(path: str, flags: int) -> None:
    kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags)
