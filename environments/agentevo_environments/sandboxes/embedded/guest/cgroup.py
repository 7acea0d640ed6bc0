"""Control groups: limits on what all processes of one execution use together.

One sandbox owns one folder per hierarchy, with one group per slot in it. Version 1 (a hierarchy
per controller) and version 2 (one hierarchy; the controllers must be enabled for children of an
ancestor that this user may write, as systemd does for user sessions) are both understood. The
folder's name carries the owner's identity, so that a later sandbox removes what a machine crash
left behind.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MEMORY, PROCESSES = "memory", "pids"
PREFIX = "agentevo-"
MEMBERS = {1: "tasks", 2: "cgroup.procs"}
"""Where a process with one thread joins; for cgroup.procs the kernel stops all forks meanwhile."""
NO_SWAP = {1: "memory.swappiness", 2: "memory.swap.max"}
REMOVAL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one sandbox.

    Attributes:
        version: 1 or 2.
        folders: Folder of this sandbox by controller; the same for all in version 2.
        slots: Number of groups in each, named "0", "1", ...
    """

    version: int
    folders: Mapping[str, Path]
    slots: int

    def open_members(self, slot: int) -> list[int]:
        """Return descriptors; writing "0" into each moves the writer into the slot's groups."""
        name = MEMBERS[self.version]
        places = {folder / str(slot) / name for folder in self.folders.values()}
        return [os.open(place, os.O_WRONLY | os.O_CLOEXEC) for place in sorted(places)]

    def remove(self) -> None:
        """Remove the groups, waiting for processes that are still ending."""
        deadline = time.monotonic() + REMOVAL_TIMEOUT_S
        for folder in sorted(set(self.folders.values())):
            while not _remove_tree(folder) and time.monotonic() < deadline:
                time.sleep(0.005)


def create(slots: int, controllers: Sequence[str]) -> Groups | None:
    """Create the groups of a sandbox, or return None where none can be written or joined.

    Args:
        slots: Number of groups.
        controllers: What they limit, `MEMORY` among it. Each costs every slot a move into its
            group.
    """
    for version, places in _candidates(controllers):
        _remove_stale(places.values())
        name = f"{PREFIX}{os.getpid()}-{start_time(os.getpid())}"
        groups = Groups(version, {key: place / name for key, place in places.items()}, slots)
        try:
            _make(groups)
        except OSError:
            groups.remove()
        else:
            return groups
    return None


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _make(groups: Groups) -> None:
    for folder in sorted(set(groups.folders.values())):
        folder.mkdir()
        if groups.version == 2:  # noqa: PLR2004
            enabled = " ".join(f"+{controller}" for controller in groups.folders)
            (folder / "cgroup.subtree_control").write_text(enabled)
        for slot in range(groups.slots):
            (folder / str(slot)).mkdir()
            with suppress(OSError):
                (folder / str(slot) / NO_SWAP[groups.version]).write_text("0")
    _try_to_join(groups)


def _try_to_join(groups: Groups) -> None:
    members = groups.open_members(0)
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in members:
                os.write(descriptor, b"0")
        except OSError:
            os._exit(1)
        os._exit(0)
    for descriptor in members:
        os.close(descriptor)
    if os.waitpid(pid, 0)[1] != 0:
        raise PermissionError("processes may not be moved into the new control group")


def _candidates(controllers: Sequence[str]) -> Iterator[tuple[int, dict[str, Path]]]:
    """Yield (version, folder by controller) for places under which groups might be made."""
    first: dict[str, Path] = {}
    for controller in controllers:
        place = _own_folder(controller)
        if place is not None and os.access(place, os.W_OK):
            first[controller] = place
    if MEMORY in first:
        yield 1, first
    own = _own_folder("")
    for place in (own, *own.parents) if own is not None else ():
        try:
            enabled = (place / "cgroup.subtree_control").read_text().split()
        except OSError:
            break
        if MEMORY in enabled and os.access(place, os.W_OK):
            yield 2, {name: place for name in controllers if name in enabled}


def _own_folder(controller: str) -> Path | None:
    """Return the folder of this process's group: of a version 1 controller, or of version 2."""
    mounted = _mount_point(controller)
    if mounted is None:
        return None
    point, root = mounted
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") and (controller or not controllers):
            inside = path if root == "/" else path.removeprefix(root)
            return point / inside.lstrip("/")
    return None


def _mount_point(controller: str) -> tuple[Path, str] | None:
    kind = "cgroup" if controller else "cgroup2"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (mounted_kind, _, options) = left.split(), right.split(" ", 2)
        if mounted_kind == kind and (not controller or controller in options.split(",")):
            return Path(fields[4]), fields[3]
    return None


def _remove_stale(places: Iterable[Path]) -> None:
    for place in set(places):
        for folder in place.glob(f"{PREFIX}*-*"):
            pid, _, started = folder.name.removeprefix(PREFIX).partition("-")
            if not pid.isdigit() or start_time(int(pid)) != started:
                _remove_tree(folder)


def _remove_tree(folder: Path) -> bool:
    """Remove a group and those in it; return whether it is gone."""
    with suppress(OSError):
        for child in folder.iterdir():
            if child.name.isdigit():
                with suppress(OSError):
                    child.rmdir()
        folder.rmdir()
    return not folder.exists()
