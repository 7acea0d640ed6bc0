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

ENVIRONMENT = """
import os, time
from agentevo_environments.errors import UnknownNameError
from agentevo_environments import Environment, Grade, Observation, Task, ToolSpec, Action

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
BOTH = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


class Echo(Environment):
    \"\"\"Say the word you are asked to say.\"\"\"

    name = "echo"
    step_limit = 4
    instructions = "Say the word."

    def __init__(self, *, size: int = 10) -> None:
        self._size, self._said = size, ""

    def tasks(self, split="test", n=None, seed=0):
        if split != "test":
            raise UnknownNameError(f"no split {split!r}; there is: test")
        words = [f"word{seed + i}" for i in range(self._size)]
        return [Task(f"t{i}", f"Say {word}", data={"word": word}) for i, word in enumerate(words)][:n]

    def reset(self, task):
        self._task, self._said = task, ""
        return Observation("")

    def step(self, action):
        while self._task.id not in ("t0", "t1", "t2") and os.path.exists("hold"):
            time.sleep(0.01)
        given = action.arguments
        if action.tool == "add" and all(isinstance(given.get(key), int) for key in "ab"):
            return Observation(str(given["a"] + given["b"]))
        if action.tool != "say" or not isinstance(given.get("text"), str):
            return Observation("use say with a text", error=True)
        self._said = action.arguments["text"].strip()
        return Observation(f"You said {self._said}", done=self._said != "hm")

    def grade(self):
        solved = self._said == self._task.data["word"]
        return Grade(float(solved), solved, "right" if solved else "wrong word")

    def tools(self):
        return [ToolSpec("say", "Say a text.", TEXT), ToolSpec("add", "Add.", BOTH)]

    def oracle(self, task):
        return [Action("say", {"text": task.data["word"]})]

    def decoy(self, task):
        return [Action("say", {"text": "no"})]

    def snapshot(self):
        return self._said

    def restore(self, task, snapshot):
        self._task, self._said = task, snapshot
"""


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
    """Return a working directory that holds an environment, without settings of the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "echo_world.py").write_text(ENVIRONMENT)
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
