"""MontySandbox: snippets run, every limit holds, and what it cannot do is refused."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentevo_environments import ExecResult, Limits, Program, Sandbox, provision
from agentevo_environments.conformance.sandbox import SANDBOX_CHECKS
from agentevo_environments.errors import LimitsError, SandboxError
from agentevo_environments.sandboxes import make_sandbox

pytest.importorskip("pydantic_monty")

SHORT = Limits(timeout_s=0.5, memory_bytes=32 << 20, output_bytes=10_000)
APPLICABLE = (
    "says_what_it_contains",
    "closes_twice",
    "refuses_to_run_when_closed",
    "refuses_to_run_before_start",
    "runs_code_as_main",
    "returns_syntax_errors",
    "keeps_streams_apart",
    "ends_hangs_in_c_at_the_time_limit",
    "refuses_impossible_limits",
    "names_missing_files",
    "runs_once_from_many_threads",
    "serves_many_threads",
)
CLIENT = """
from agentevo_environments import Limits, Program
from agentevo_environments.sandboxes import make_sandbox
sandbox = make_sandbox("monty", workers=1)
sandbox.start()
sandbox.exec(Program(code="print(1)"))
print("ready", flush=True)
sandbox.exec(Program(code="while True: pass"), limits=Limits(timeout_s=1.5))
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with provision(make_sandbox("monty")) as started:
        yield started


def run(sandbox: Sandbox, code: str, execution_id: str = "") -> ExecResult:
    return sandbox.exec(Program(code=code), limits=SHORT, execution_id=execution_id)


@pytest.mark.parametrize("name", APPLICABLE)
def test_it_passes_the_checks_that_need_no_files_or_processes(name: str) -> None:
    SANDBOX_CHECKS[name](lambda: make_sandbox("monty"))


def test_a_snippet_prints_to_both_streams(sandbox: Sandbox) -> None:
    result = run(sandbox, "import sys\nprint(6 * 7)\nprint('e', file=sys.stderr)")
    assert (result.ok, result.stdout, result.stderr) == (True, "42\n", "e\n")


def test_output_at_the_limit_is_whole(sandbox: Sandbox) -> None:
    result = run(sandbox, f"print('a' * {SHORT.output_bytes - 1})")
    assert (result.ok, result.truncated, len(result.stdout)) == (True, False, SHORT.output_bytes)


@pytest.mark.parametrize(
    ("code", "text"), [("1 / 0", "ZeroDivisionError"), ("x = (", "SyntaxError"), ("y", "NameError")]
)
def test_an_error_is_status_one_with_its_text(sandbox: Sandbox, code: str, text: str) -> None:
    result = run(sandbox, code)
    assert (result.ending, result.exit_code) == ("exited", 1)
    assert text in result.stderr


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(20)",
        "import time\nwhile True:\n  try: time.sleep(20)\n  except BaseException: pass",
        "import time\nwhile True: time.sleep(0.01)",
        "import asyncio\nasync def f():\n  await asyncio.sleep(20)\nawait f()",
        "sum(range(10**11))",
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
    ],
)
def test_the_time_limit_bounds_work_and_sleep(sandbox: Sandbox, code: str) -> None:
    begun = time.monotonic()
    result = run(sandbox, code)
    assert (result.ending, result.exit_code) == ("timeout", None)
    assert time.monotonic() - begun < 5
    assert run(sandbox, "print(1)").stdout == "1\n"


@pytest.mark.parametrize(
    "code", ["x = [0] * 10**9", "x = []\nwhile True: x.append('a' * 1000)", "2 ** 10**10"]
)
def test_the_memory_limit_ends_a_snippet(sandbox: Sandbox, code: str) -> None:
    assert run(sandbox, code).ending == "memory_limit"


def test_a_flood_is_cut_at_the_output_limit(sandbox: Sandbox) -> None:
    result = run(sandbox, "while True: print('a' * 99)")
    assert (result.ending, result.truncated) == ("output_limit", True)
    assert len(result.stdout) == SHORT.output_bytes


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "from pathlib import Path\nPath('/tmp/monty-was-here').write_text('x')",
        "import os\nos.listdir('/')",
        "import os\nos.environ['PATH']",
        "import os\nos.getenv('PATH') or 1 / 0",
        "import subprocess",
        "import socket",
        "import ctypes",
    ],
)
def test_the_host_is_out_of_reach(sandbox: Sandbox, code: str) -> None:
    result = run(sandbox, code)
    assert (result.ending, result.exit_code) == ("exited", 1)
    assert not Path("/tmp/monty-was-here").exists()


def test_nothing_is_left_for_the_next_snippet(sandbox: Sandbox) -> None:
    run(sandbox, "left = 1")
    assert "NameError" in run(sandbox, "print(left)").stderr


def test_an_execution_id_runs_once(sandbox: Sandbox) -> None:
    draw = "import random\nprint(random.random())"
    first = run(sandbox, draw, "one")
    again = run(sandbox, draw, "one")
    assert (again.stdout, again.replayed) == (first.stdout, True)
    sandbox.reset()
    assert run(sandbox, draw, "one").stdout != first.stdout


def test_many_threads_share_the_workers_and_a_kill_hits_only_its_own(sandbox: Sandbox) -> None:
    codes = [
        "while True: print('a' * 99)",
        "print(1)",
        "import time\ntime.sleep(9)",
        "print(2)",
    ] * 5
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda code: run(sandbox, code), codes))
    assert [r.ending for r in results] == ["output_limit", "exited", "timeout", "exited"] * 5
    assert [r.stdout for r in results if r.ok] == ["1\n", "2\n"] * 5


@pytest.mark.parametrize(
    "program",
    [
        Program(argv=("true",)),
        Program(code="print(1)", stdin=b"x"),
        Program(code="print(1)", files={"a.txt": b"x"}),
    ],
)
def test_what_it_cannot_run_is_refused(sandbox: Sandbox, program: Program) -> None:
    with pytest.raises(SandboxError, match="runs code only"):
        sandbox.exec(program)


def test_a_time_limit_above_its_own_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(LimitsError, match=r"up to 60\.0"):
        sandbox.exec(Program(code="1"), limits=Limits(timeout_s=61))


def test_closing_leaves_no_worker() -> None:
    before = _workers(os.getpid())
    with provision(make_sandbox("monty")) as sandbox:
        run(sandbox, "while True: print('a' * 99)")
        run(sandbox, "print(1)")
        mine = _workers(os.getpid()) - before
        assert mine
    _await_end_of(mine)


def test_a_busy_worker_ends_after_its_client_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", CLIENT], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        workers = _workers(client.pid)
        client.kill()
    assert workers
    _await_end_of(workers)


def _await_end_of(workers: set[int]) -> None:
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in workers):
        assert time.monotonic() < deadline, f"still there: {workers}"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    return _status(pid)[1] not in {"Z", "X"}


def _workers(parent: int) -> set[int]:
    pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
    return {pid for pid in pids if _status(pid)[::2] == ("monty", str(parent))}


def _status(pid: int) -> tuple[str, str, str]:
    """Return name, state and parent of a process; state "X" when it is gone."""
    try:
        name, rest = Path(f"/proc/{pid}/stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
    except OSError:
        return "", "X", ""
    state, parent = rest.split()[:2]
    return name, state, parent
