"""Inside the container: what an execution leaves behind, killed and wiped as its own user."""

import os
import signal
import stat
import time
from contextlib import suppress
from functools import cache

_KERNEL_TREES = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "binfmt_misc"}


def end_all(child: int, limit_s: float) -> int | None:
    """Kill every process whose user is our effective one, until none is left.

    Args:
        child: Our child, which may still be about to become that user.
        limit_s: Seconds after which to give up.

    Returns:
        The child's wait status, or None when something is still alive.
    """
    uid = os.geteuid()
    status: int | None = None
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)
        if status is None:
            pid, waited = os.waitpid(child, os.WNOHANG)
            status = waited if pid else None
        try:
            os.getpriority(os.PRIO_USER, uid)
        except ProcessLookupError:
            if status is not None:
                return status
        time.sleep(0.0002)
    return None


@cache
def shared_folders() -> tuple[str, ...]:
    """Return the folders in which every user of the container can create files."""
    found = []
    with open("/proc/self/mountinfo") as mounts:  # noqa: PTH123
        for line in mounts:
            before, _, after = line.partition(" - ")
            folder = before.split()[4].encode().decode("unicode_escape")
            if after.split()[0] not in _KERNEL_TREES and _is_shared(folder):
                found.append(folder)
    return tuple(sorted(found))


def _is_shared(folder: str) -> bool:
    try:
        status = os.stat(folder)  # noqa: PTH116
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_IWOTH) and not read_only


def is_clean() -> bool:
    """Tell whether no execution has left a file anywhere."""
    return not any(os.listdir(folder) for folder in shared_folders())  # noqa: PTH208


def wipe() -> None:
    """Delete everything that this user has written; what resists is found by `is_clean`."""
    for folder in shared_folders():
        before: list[str] = []
        while (names := os.listdir(folder)) and names != before:  # noqa: PTH208
            for name in names:
                _remove(f"{folder}/{name}", folder)
            before = names


def _remove(path: str, top: str) -> None:
    """Delete a file or a folder; its subfolders move to the top first, so no tree is too deep."""
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108
            return
        os.chmod(path, 0o700)  # noqa: PTH101
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)  # noqa: PTH101
                    os.rename(entry.path, f"{top}/.{os.urandom(12).hex()}")  # noqa: PTH104
                else:
                    os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(path)  # noqa: PTH106
    except OSError:
        return
