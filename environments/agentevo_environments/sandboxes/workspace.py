"""Workspace: the files that persist between executions, held as bytes outside the sandbox."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from agentevo_environments.errors import LimitsError
from agentevo_environments.sandboxes.base import Limits, Sandbox
from agentevo_environments.sandboxes.executions import Executions

PATH_LIMIT_BYTES = 4096
NAME_LIMIT_BYTES = 255


def normal_path(path: str) -> str:
    """Return a relative path without empty parts and dots.

    Raises:
        ValueError: It is empty or absolute, leaves the workspace, holds a NUL byte, or is, or has
            a part that is, longer than the kernel accepts.
    """
    if not path or "\0" in path:
        raise ValueError(f"a workspace path is a name without NUL bytes, not {path!r}")
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or not parts:
        raise ValueError(
            f"workspace path {path!r} leaves the workspace: give a relative path without '..'"
        )
    if len(path.encode("utf-8", "surrogateescape")) >= PATH_LIMIT_BYTES:
        raise ValueError(f"workspace path {path[:80]!r}... is {PATH_LIMIT_BYTES} bytes or longer")
    if any(len(part.encode("utf-8", "surrogateescape")) > NAME_LIMIT_BYTES for part in parts):
        raise ValueError(
            f"workspace path {path[:80]!r}... has a name of more than {NAME_LIMIT_BYTES} bytes"
        )
    return "/".join(parts)


class Workspace:
    """A mapping of relative paths to contents, safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: Mapping[str, bytes] = MappingProxyType({})

    @property
    def files(self) -> Mapping[str, bytes]:
        """All files at this moment; the mapping never changes afterwards."""
        return self._files

    def put(self, path: str, data: bytes) -> None:
        """Place a file.

        Raises:
            ValueError: The path is not valid, or a file stands where it needs a folder.
        """
        name = normal_path(path)
        with self._lock:
            self._files = with_files(self._files, {name: bytes(data)})

    def get(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: There is no such file; the message lists some that exist.
        """
        files = self._files
        try:
            return files[normal_path(path)]
        except KeyError:
            known = ", ".join(sorted(files)[:8]) or "none"
            raise FileNotFoundError(
                f"no file {path!r} in the workspace; it holds: {known}"
            ) from None

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Make `files` the whole workspace."""
        with self._lock:
            self._files = with_files({}, files)


class WorkspaceSandbox(Sandbox):
    """A sandbox whose workspace and stored results are held by this process."""

    def __init__(self) -> None:
        self._workspace = Workspace()
        self._executions = Executions()

    def put(self, path: str, data: bytes) -> None:
        """Place a file in the workspace; see `Sandbox.put`."""
        self._workspace.put(path, data)

    def get(self, path: str) -> bytes:
        """Return a file of the workspace; see `Sandbox.get`."""
        return self._workspace.get(path)

    def workspace(self) -> Sequence[str]:
        """Return the paths of the files in the workspace, sorted."""
        return sorted(self._workspace.files)

    def reset(self) -> None:
        """Empty the workspace and forget stored results."""
        self._workspace.replace({})
        self._executions.clear()


def files_within(
    limits: Limits, base: Mapping[str, bytes], more: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """Return `base` with `more` placed over it, read-only, for an execution with these limits.

    Raises:
        LimitsError: The files are more or larger than the limits allow.
        ValueError: As in `with_files`.
    """
    files = with_files(base, more) if more else base
    size = sum(len(data) for data in files.values())
    largest = max((len(data) for data in files.values()), default=0)
    if size > limits.disk_bytes or len(files) > limits.files or largest > limits.file_bytes:
        raise LimitsError(
            f"{len(files)} files of {size} bytes, the largest {largest}, are more than the limits"
            f" allow (files={limits.files}, disk_bytes={limits.disk_bytes},"
            f" file_bytes={limits.file_bytes}): raise these limits or place less"
        )
    return files


def with_files(base: Mapping[str, bytes], more: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return `base` with `more` placed over it, read-only.

    Raises:
        ValueError: A path is not valid, or one file lies in another as if that were a folder.
    """
    files = dict(base)
    files.update((normal_path(path), data) for path, data in more.items())
    for path in files:
        for folder in PurePosixPath(path).parents:
            if str(folder) in files:
                raise ValueError(f"{str(folder)!r} cannot be a file and hold {path!r}")
    return MappingProxyType(files)
