"""Harvest: the regular files that an execution left, sent as bytes when nothing runs any more.

Folders are entered and files opened without following links, so neither a symbolic link nor a
FIFO, device or socket is ever read. What cannot be read, lies too deep or does not fit into the
size of the file system (sparse files) is counted as left out.
"""

import os
import stat

DEPTH_LIMIT = 64
PATH_LIMIT_BYTES = 4096
SIZE_LIMIT_BYTES = 256 << 20
OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Harvest:
    """Files found.

    Attributes:
        folder: Where.
        names: Names relative to the folder.
        sizes: Sizes in bytes.
        left_out: Number of regular files that are not among them.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.left_out = 0

    def send(self, client: int) -> None:
        """Send the contents one after the other to a descriptor."""
        for name, size in zip(self.names, self.sizes, strict=True):
            descriptor = _open_beneath(self.folder, name)
            sent = 0
            while sent < size:
                sent += os.sendfile(client, descriptor, sent, size - sent)
            os.close(descriptor)


def collect(folder: str) -> Harvest:
    """Return the regular files below a folder."""
    found = Harvest(folder)
    space = os.statvfs(folder)
    room = min(space.f_blocks * space.f_frsize, SIZE_LIMIT_BYTES)
    for top, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        relative = os.path.relpath(top, folder)
        if relative.count("/") >= DEPTH_LIMIT:
            folders.clear()
        for name in names:
            size = _readable_size(name, descriptor)
            if size is None:
                continue
            path = os.path.normpath(f"{relative}/{name}")
            if 0 <= size <= room and len(os.fsencode(path)) < PATH_LIMIT_BYTES:
                room -= size
                found.names.append(path)
                found.sizes.append(size)
            else:
                found.left_out += 1
    return found


def _readable_size(name: str, folder: int) -> int | None:
    """Return the size of a regular file, -1 when it cannot be read, None for anything else."""
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return None
    try:
        os.close(os.open(name, OPEN_FLAGS, dir_fd=folder))
    except OSError:
        return -1
    return status.st_size


def _open_beneath(folder: str, name: str) -> int:
    *parents, last = name.split("/")
    current = os.open(folder, OPEN_FLAGS | os.O_DIRECTORY)
    for parent in parents:
        below = os.open(parent, OPEN_FLAGS | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = below
    try:
        return os.open(last, OPEN_FLAGS, dir_fd=current)
    finally:
        os.close(current)
