"""The control of the attacks: a plain subprocess, which contains nothing."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from agentevo_environments.sandboxes.base import (
    DEFAULT_LIMITS,
    Containment,
    ExecResult,
    Limits,
    Program,
    Sandbox,
)


class PlainSubprocess(Sandbox):
    """Runs programs as they come, in one folder, and copies files out by their names."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="agentevo-plain-"))
        self._kept: dict[str, bytes] = {}

    @property
    def containment(self) -> Containment:
        return Containment("plain", "none", (), ("everything",))

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)

    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        for path, data in program.files.items():
            (self._folder / path).write_bytes(data)
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-c", program.code or ""],
                cwd=self._folder,
                capture_output=True,
                timeout=limits.timeout_s,
                close_fds=False,
                check=False,
            )
            ending, status, out, err = "exited", done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as error:
            ending, status, out, err = "timeout", None, error.stdout or b"", error.stderr or b""
        if keep_files:
            self._kept = {}
            for kept in filter(Path.is_file, self._folder.rglob("*")):
                with suppress(OSError):
                    self._kept[str(kept.relative_to(self._folder))] = kept.read_bytes()
        return ExecResult(
            ending=ending,  # type: ignore[arg-type]
            exit_code=status,
            stdout=out.decode(errors="replace"),
            stderr=err.decode(errors="replace"),
            duration_s=time.monotonic() - started,
        )

    def put(self, path: str, data: bytes) -> None:
        (self._folder / path).write_bytes(data)

    def get(self, path: str) -> bytes:
        return self._kept[path]

    def workspace(self) -> Sequence[str]:
        return sorted(self._kept)

    def reset(self) -> None:
        self._kept = {}

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def plain() -> type[PlainSubprocess]:
    """The class of sandboxes that stop no attack."""
    return PlainSubprocess
