"""Shared parts: the embedded sandbox, tasks made from a few lines, and the HumanEval file."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevo_environments import ExecResult, Program, Task
from agentevo_environments.packs.code.environment import CodeEnvironment
from agentevo_environments.packs.code.task_file import read_tasks
from agentevo_environments.sandboxes import make_sandbox
from agentevo_environments.sandboxes.base import provision
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

REPOSITORY = Path(__file__).parents[3]


class WitnessSandbox(EmbeddedSandbox):
    """The embedded sandbox, keeping a list of the programs it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.programs: list[Program] = []

    def exec(self, program: Program, **options: Any) -> ExecResult:
        self.programs.append(program)
        return super().exec(program, **options)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[WitnessSandbox]:
    with provision(WitnessSandbox()) as started:
        assert isinstance(started, WitnessSandbox)
        yield started


@pytest.fixture
def environment() -> Iterator[CodeEnvironment]:
    made = CodeEnvironment(sandbox=make_sandbox(), timeout_s=5.0)
    yield made
    made.close()


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Task]:
    """Make a task from the body of its `check`, the known solution, and the prompt."""

    def make(check: str, solution: str = "", prompt: str = "", entry_point: str = "f") -> Task:
        record = {
            "task_id": "made/1",
            "prompt": prompt or f"def {entry_point}(*args):\n    '''Answer.'''\n",
            "entry_point": entry_point,
            "canonical_solution": solution,
            "test": f"def check(candidate):\n{check}",
        }
        path = tmp_path / "made.jsonl"
        path.write_text(json.dumps(record), encoding="utf-8")
        return read_tasks(path)[0]

    return make


@pytest.fixture(scope="session")
def humaneval() -> Path:
    folder = Path(os.environ.get("AGENTEVO_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    path = folder / "HumanEval.jsonl.gz"
    if not path.exists():
        pytest.skip(f"there is no {path.name}; set AGENTEVO_SHARED_DATA to its folder")
    return path
