"""Namespaces: the isolation of tiers T1 and T2: namespaces and mounts of a slot's own.

Made before the slot's program is known. The slot has a user namespace of its own, so that its
rights and its process count end where it ends, and in which no further one can be made. Only the
network is made before, one for every number of a slot: it costs most, and holds nothing but the
names of local sockets, which end with the slot's processes.

Every page of memory that a fork touches is copied, which is most of what a slot costs; so this
file makes plain system calls where it runs once per slot.
"""

import os
import signal
from contextlib import suppress

from agentevo_environments.sandboxes.embedded.guest import kernel
from agentevo_environments.sandboxes.embedded.guest.seccomp import last_filter

TEMPORARY = "/tmp"
NAMESPACES = kernel.NEWUSER | kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC | kernel.NEWUTS
HIDDEN_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
OWN_FOLDERS = 4
OWN_PROCESSES = 1


class Namespaces:
    """Isolation of one slot; see `slot.Isolation` for the order of use.

    Args:
        slots: How many slots there are at the same time.

    Attributes:
        home: Folder for temporary files.
        work: Working directory of the program.
    """

    home = TEMPORARY
    work = f"{TEMPORARY}/work"

    def __init__(self, slots: int) -> None:
        self._filter = last_filter()
        self._ids = os.getuid(), os.getgid()
        self._networks = _make_networks(slots, *self._ids)

    def fork(self, slot: int) -> tuple[int, int]:
        """Fork a process that is the first in namespaces of its own."""
        kernel.enter_namespace(self._networks[slot])
        return kernel.fork_into(NAMESPACES)

    def guard(self) -> None:
        """Become unreadable for the program, and give up all rights."""
        kernel.set_dumpable(0)
        kernel.drop_capabilities()

    def enter(self) -> None:
        """Keep the user's id, mount everything, and give up what could bring rights back."""
        kernel.map_user(*self._ids, *self._ids)
        _mount_private_files()
        os.mkdir(self.work)  # noqa: PTH102
        os.setsid()
        kernel.drop_bounding_set()
        os.chdir(self.work)

    def limit_disk(self, disk_bytes: int, files: int) -> None:
        """Set how much the program may write in total, and into how many files and folders."""
        flags = kernel.MS_REMOUNT | kernel.MS_NOSUID | kernel.MS_NODEV
        options = f"size={disk_bytes},nr_inodes={files + OWN_FOLDERS}"
        kernel.mount("tmpfs", TEMPORARY, None, flags, options)

    def process_limit(self, processes: int) -> int:
        """Return the RLIMIT_NPROC that lets the program have this many processes."""
        return processes + OWN_PROCESSES

    def confine(self) -> None:
        """Give up all rights in this process, for ever."""
        kernel.drop_capabilities()
        kernel.set_dumpable(1)
        self._filter.install()

    def kill_all(self) -> None:
        """Kill every other process of the slot and wait until they are gone."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.wait()

    def end(self) -> None:
        """Free what the kernel does not: nothing."""


def _make_networks(count: int, uid: int, gid: int) -> list[int]:
    """Return descriptors of networks without any device, over which only this process has rights.

    It gets them from a user namespace that owns nothing else.
    """
    kernel.unshare(kernel.NEWUSER)
    kernel.map_user(uid, gid, uid, gid)
    networks = []
    for _ in range(count):
        kernel.unshare(kernel.NEWNET)
        networks.append(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    return networks


def _mount_private_files() -> None:
    """Give the slot its own /tmp, /dev/shm and /proc.

    /tmp and /dev/shm are two folders of one memory file system, so that one limit holds for both;
    nothing in /dev/shm can be executed. Nothing in /proc can be written to.
    """
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", flags, "mode=755")
    usual = os.umask(0)
    os.mkdir("/dev/shm/tmp", 0o1777)  # noqa: PTH102
    os.mkdir("/dev/shm/shm", 0o1777)  # noqa: PTH102
    os.umask(usual)
    kernel.mount("/dev/shm/tmp", TEMPORARY, None, kernel.MS_BIND)
    kernel.mount("/dev/shm/shm", "/dev/shm", None, kernel.MS_BIND)
    _change("/dev/shm", HIDDEN_FLAGS)
    kernel.mount("proc", "/proc", "proc", HIDDEN_FLAGS)
    kernel.write_file("/proc/sys/user/max_user_namespaces", b"0")
    _change("/proc", HIDDEN_FLAGS | kernel.MS_RDONLY)


def _change(path: str, flags: int) -> None:
    kernel.mount("none", path, None, kernel.MS_REMOUNT | kernel.MS_BIND | flags)
