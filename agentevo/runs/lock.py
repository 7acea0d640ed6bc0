"""One process per run: a lock file that the kernel frees when its holder dies."""

import fcntl
import os
from pathlib import Path
from typing import Self

from agentevo.errors import RunInUseError


class RunLock:
    """The exclusive right to work on a run; a context manager.

    Args:
        path: The lock file; it holds the process id of the holder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RunInUseError: Another process holds it; the message names the process.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise RunInUseError(
                f"the run {self._path.parent.name!r} is being worked on by process {holder}; "
                f"wait for it, or stop it with: kill -INT {holder}"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
