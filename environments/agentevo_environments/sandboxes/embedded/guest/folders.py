"""Folders: the isolation of tiers T3 and T4: a folder and a process tree of the slot's own.

T3 adds Landlock and the system-call filter, for places where namespaces are forbidden (inside
containers); T4 adds nothing. The slot's first process adopts every orphan of its program, so that
it can find and kill all of them.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from agentevo_environments.sandboxes.embedded.guest import kernel, landlock
from agentevo_environments.sandboxes.embedded.guest.seccomp import last_filter

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Folders:
    """Isolation of one slot; see `slot.Isolation` for the order of use.

    Args:
        scratch: Folder of the sandbox, in which the slot makes its own.
        readable: Files and folders that programs may read and execute.
        listable: Folders in which programs may read the names.
        confined: Whether Landlock and the system-call filter are used.
    """

    def __init__(
        self, scratch: str, readable: Sequence[str], listable: Sequence[str], *, confined: bool
    ) -> None:
        self._readable = readable
        self._listable = listable
        self._scratch = scratch
        self._filter = last_filter() if confined else None
        self.home = ""
        self.work = ""

    def fork(self, slot: int) -> tuple[int, int]:
        """Fork, with nothing new."""
        return kernel.fork_into(0)

    def guard(self) -> None:
        """Adopt what will be orphaned, become unreadable, and give up all rights."""
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        self._name_folders(os.getpid())
        kernel.set_dumpable(0)
        kernel.drop_capabilities()

    def enter(self) -> None:
        """Make the slot's folder and enter it, in a session of its own."""
        self._name_folders(os.getppid())
        Path(self.work).mkdir(parents=True, mode=0o700)
        os.setsid()
        os.chdir(self.work)

    def limit_disk(self, disk_bytes: int, files: int) -> None:
        """Nothing: only the size of one file is limited here."""

    def process_limit(self, processes: int) -> int:
        """Return an RLIMIT_NPROC that counts the user's other processes as well."""
        return processes + _count_processes(os.getuid())

    def confine(self) -> None:
        """Give up all rights in this process, for ever."""
        kernel.drop_capabilities()
        if self._filter is not None:
            landlock.restrict(self._readable, self._listable, [self.home, *DEVICES])
            self._filter.install()

    def _name_folders(self, first_process: int) -> None:
        self.home = f"{self._scratch}/{first_process}"
        self.work = f"{self.home}/work"

    def kill_all(self) -> None:
        """Kill every process below this one and wait until they are gone."""
        kill_descendants()

    def end(self) -> None:
        """Remove the slot's folder."""
        self.kill_all()
        remove(self.home)


def remove(folder: str) -> None:
    """Remove a folder as far as possible."""
    import shutil  # much memory for what most tiers never do

    shutil.rmtree(folder, ignore_errors=True)


def kill_descendants() -> None:
    """Kill all children, and those that this process adopts as their parents die."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(ChildProcessError):
        while True:
            for pid in children.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            os.wait()


def _count_processes(uid: int) -> int:
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            found += f"\nUid:\t{uid}\t" in status.read_text(errors="replace")
    return found
