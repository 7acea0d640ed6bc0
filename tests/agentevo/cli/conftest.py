import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from agentevo.cli import app


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


Invoke = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory, without settings of the machine."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("AGENTEVO_", "OPENAI_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def invoke(folder: Path) -> Invoke:
    """Return a function that runs a command line in this process."""
    runner = CliRunner()

    def run(*args: str, text: str | None = None) -> Outcome:
        result = runner.invoke(app, list(args), input=text)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.stderr
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def command(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts a command line in a process of its own, without a terminal."""

    def start(*args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agentevo", *args],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
