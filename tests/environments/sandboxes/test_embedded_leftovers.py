import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentevo_environments.errors import SandboxDiedError
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

KILLS = int(os.environ.get("AGENTEVO_SANDBOX_KILLS", "12"))
SOAK = int(os.environ.get("AGENTEVO_SANDBOX_SOAK", "120"))
MARK = "86398"
# Slots being armed or ending while it is measured, and the allocator of the interpreter.
NOISE = {"descriptors": 12, "processes": 12, "memory_kb": 2_000}

CLIENT = """
import sys, threading, time
from agentevo_environments.sandboxes.base import Program
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
busy = sys.argv[1] == "busy"
sandbox = EmbeddedSandbox(tier=sys.argv[2])
sandbox.start()
sandbox.exec(Program(code="print(1)"))
code = '''
import os
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "86398"])
while True: pass
'''
if busy:
    threading.Thread(target=lambda: sandbox.exec(Program(code=code)), daemon=True).start()
    time.sleep(0.05)
print("ready", flush=True)
time.sleep(600)
"""


def mounts() -> int:
    """Return how many file systems are mounted, without those of containers that come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return sum("docker" not in line for line in lines)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def scratch_folders(processes: set[int]) -> list[Path]:
    return [
        path for pid in processes for path in Path(tempfile.gettempdir()).glob(f"agentevo-{pid}-*")
    ]


def marked() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if MARK.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def start_client(state: str, tier: str) -> subprocess.Popen[bytes]:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, state, tier], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    return client


def kill_and_look(
    client: subprocess.Popen[bytes], leftovers: Callable[[set[int]], list[object]], tree: set[int]
) -> list[object]:
    client.kill()
    client.communicate()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and leftovers(tree):
        time.sleep(0.01)
    return leftovers(tree)


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["T1", "T2", "T3"])
@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_killed_client_leaves_nothing_after_one_second(
    state: str, tier: str, survey: Callable[[int], set[int]], leftovers: Callable[..., list[object]]
) -> None:
    mounted = mounts()
    for _ in range(max(1, KILLS // 6)):
        client = start_client(state, tier)
        time.sleep(random.random() * 0.05)
        tree = survey(client.pid)
        assert len(tree) >= 2
        assert kill_and_look(client, leftovers, tree) == []
        assert marked() == []
        assert scratch_folders(tree) == []
    assert mounts() == mounted


@pytest.mark.slow
def test_a_client_killed_while_starting_leaves_nothing(
    survey: Callable[[int], set[int]], leftovers: Callable[..., list[object]]
) -> None:
    for _ in range(max(1, KILLS // 6)):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, "idle", "T1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        time.sleep(random.uniform(0.2, 0.8))
        assert kill_and_look(client, leftovers, survey(client.pid)) == []


def test_closing_leaves_nothing(
    survey: Callable[[int], set[int]], leftovers: Callable[..., list[object]]
) -> None:
    before = survey(os.getpid())
    opened = descriptors()
    with EmbeddedSandbox() as sandbox:
        sandbox.exec(Program(code="print(1)"))
        tree = survey(os.getpid()) - before
        assert tree
    assert leftovers(tree) == []
    assert descriptors() == opened


def test_a_killed_server_is_a_typed_error_and_leaves_nothing(
    survey: Callable[[int], set[int]], leftovers: Callable[..., list[object]]
) -> None:
    before = survey(os.getpid())
    with EmbeddedSandbox() as sandbox:
        tree = survey(os.getpid()) - before
        for pid in sorted(tree)[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        while leftovers(set(sorted(tree)[1:])):
            time.sleep(0.01)  # until then programs may still run
        for _ in range(40):
            with pytest.raises(SandboxDiedError, match="start a new sandbox"):
                sandbox.exec(Program(code="print(1)"))
    assert leftovers(tree) == []


@pytest.mark.slow
def test_a_soak_with_faults_drifts_in_nothing(survey: Callable[[int], set[int]]) -> None:
    programs = [
        (Program(code="print(6 * 7)"), Limits()),
        (Program(code="import os; os.kill(os.getpid(), 11)"), Limits()),
        (Program(code="while True: pass"), Limits(timeout_s=0.05)),
        (Program(code="import os\nwhile True: os.write(1, b'x' * 65536)"), Limits()),
        (Program(code="b = bytearray(1 << 30)"), Limits(memory_bytes=64 << 20)),
        (Program(code="import os\nfor _ in range(9): os.fork()"), Limits(processes=16)),
        (Program(code="open('a', 'wb').write(b'z' * 999999)"), Limits(file_bytes=1 << 16)),
        (Program(argv=("no-such-program",)), Limits()),
    ]
    with EmbeddedSandbox() as sandbox:
        for index in range(40):
            program, limits = programs[index % 8]
            sandbox.exec(program, limits=limits, keep_files=True)
        time.sleep(0.5)
        before = measure(survey)
        for index in range(SOAK):
            program, limits = programs[index % 8]
            sandbox.exec(program, limits=limits, keep_files=index % 3 == 0)
            sandbox.reset()
        time.sleep(0.5)
        after = measure(survey)
    for name, value in before.items():
        assert after[name] <= value * 1.01 + NOISE.get(name, 0), name


def measure(survey: Callable[[int], set[int]]) -> dict[str, int]:
    status = Path("/proc/self/status").read_text()
    return {
        "descriptors": descriptors(),
        "mounts": mounts(),
        "processes": len(survey(os.getpid())),
        "memory_kb": int(status.split("VmRSS:")[1].split()[0]),
    }
