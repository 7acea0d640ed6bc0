"""Our sandboxes as a backend of deepagents: `SandboxBackend(make_sandbox("docker"))`.

Commands run in the sandbox's working folder; the files in it persist between commands, nothing
else does. Paths are absolute and lie below `root`.
"""

import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from deepagents.backends.protocol import (
    ExecuteResponse,
    FileDownloadResponse,
    FileUploadResponse,
)
from deepagents.backends.sandbox import BaseSandbox

from agentevo_environments.sandboxes.base import Limits, Program, Sandbox

ROOT = "/tmp/work"
"""The working folder of every sandbox of this package, as programs inside see it."""

DEFAULT_LIMITS = Limits(timeout_s=120.0, output_bytes=1 << 20)
"""Limits of one command."""

# Workspaces hold files only; the list of empty folders is kept in one of them between commands.
_COMMAND = """
[ -s .agentevo-folders ] && xargs -0 mkdir -p -- < .agentevo-folders
rm -f .agentevo-folders
sh -c "$1" 2>&1
status=$?
find . -mindepth 1 -type d -empty -print0 > .agentevo-folders
exit $status
"""


class SandboxBackend(BaseSandbox):
    """A started sandbox, as deepagents wants it.

    Args:
        sandbox: A started sandbox, which the caller closes.
        limits: Limits of one command; `execute` may ask for another time limit.
    """

    def __init__(self, sandbox: Sandbox, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._id = f"agentevo-{uuid.uuid4().hex[:12]}"
        # A command takes the workspace along and gives it back: two at a time would lose files.
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """Identity of this backend."""
        return self._id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a shell command; its standard error is part of the output.

        Args:
            command: For `sh -c`.
            timeout: Seconds, at least 1; the limit of `limits` when None or 0.
        """
        limits = replace(self._limits, timeout_s=float(timeout)) if timeout else self._limits
        program = Program(argv=("sh", "-c", _COMMAND, "sh", command))
        with self._lock:
            result = self._sandbox.exec(program, limits=limits, keep_files=True)
        output = result.stdout + result.stderr
        if result.ending != "exited":
            output += f"\n[the command was ended: {result.ending}]"
        return ExecuteResponse(
            output=output, exit_code=result.exit_code, truncated=result.truncated
        )

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Place files below the working folder; each is answered on its own."""
        return [
            FileUploadResponse(path=path, error=self._upload(path, data)) for path, data in files
        ]

    def _upload(self, path: str, data: bytes) -> str | None:
        inside = _inside(path)
        if inside is None:
            return "invalid_path"
        with self._lock:
            if self._is_folder(inside):
                return "is_directory"
            try:
                self._sandbox.put(inside, data)
            except ValueError:
                return "invalid_path"
        return None

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Return files below the working folder; each is answered on its own."""
        return [self._download(path) for path in paths]

    def _download(self, path: str) -> FileDownloadResponse:
        inside = _inside(path)
        if inside is None:
            return FileDownloadResponse(path=path, error="invalid_path")
        try:
            return FileDownloadResponse(path=path, content=self._sandbox.get(inside))
        except FileNotFoundError:
            error = "is_directory" if self._is_folder(inside) else "file_not_found"
            return FileDownloadResponse(path=path, error=error)
        except ValueError:
            return FileDownloadResponse(path=path, error="invalid_path")

    def _is_folder(self, inside: str) -> bool:
        names: Sequence[str] = self._sandbox.workspace()
        return any(name.startswith(f"{inside}/") for name in names)


def _inside(path: str) -> str | None:
    """Return a path relative to the working folder, or None when it does not lie below it."""
    pure = PurePosixPath(path)
    if ".." in pure.parts or not pure.is_relative_to(ROOT) or pure == PurePosixPath(ROOT):
        return None
    return str(pure.relative_to(ROOT))
