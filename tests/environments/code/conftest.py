"""Shared parts: the embedded sandbox, tasks made from a few lines, and the HumanEval file."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agentevo_environments import ExecResult, Limits, Program, Sandbox, Task
from agentevo_environments.packs.code.environment import CodeEnvironment
from agentevo_environments.packs.code.task_file import read_tasks
from agentevo_environments.sandboxes import make_sandbox
from agentevo_environments.sandboxes.base import DEFAULT_LIMITS, Containment, provision

REPOSITORY = Path(__file__).parents[3]


class WitnessSandbox(Sandbox):
    """The embedded sandbox, keeping a list of the programs it was given."""

    def __init__(self) -> None:
        self.programs: list[Program] = []
        self._inner = make_sandbox()

    @property
    def containment(self) -> Containment:
        return self._inner.containment

    def start(self) -> None:
        self._inner.start()

    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        self.programs.append(program)
        return self._inner.exec(
            program, limits=limits, execution_id=execution_id, keep_files=keep_files
        )

    def put(self, path: str, data: bytes) -> None:
        self._inner.put(path, data)

    def get(self, path: str) -> bytes:
        return self._inner.get(path)

    def workspace(self) -> Sequence[str]:
        return self._inner.workspace()

    def reset(self) -> None:
        self._inner.reset()

    def close(self) -> None:
        self._inner.close()


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
