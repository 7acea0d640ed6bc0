import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentevo_environments.errors import SandboxDiedError, SandboxUnavailableError
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.docker import DockerSandbox, reaper
from agentevo_environments.sandboxes.docker.daemon import connect

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.usefixtures("docker_daemon")]

KILLS = int(os.environ.get("AGENTEVO_KILLS", "6"))
SOAK = int(os.environ.get("AGENTEVO_SOAK", "120"))
OVERRUNS = int(os.environ.get("AGENTEVO_OVERRUNS", "6"))
GONE_S = 1.0

CLIENT = """
import sys
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.docker import DockerSandbox

sandbox = DockerSandbox(run_id=sys.argv[1])
sandbox.start()
sandbox.exec(Program(code="print(1)"))
print("ready", flush=True)
code = "import time; time.sleep(60)" if sys.argv[2] == "asleep" else "while True: pass"
if sys.argv[2] != "idle":
    sandbox.exec(Program(code=code), limits=Limits(timeout_s=60))
sys.stdin.read()
"""

FAULTS = (
    Program(code="print('fine')"),
    Program(code="import os; os.abort()"),
    Program(code="raise SystemExit(3)"),
    Program(code="open('x', 'w').write('y' * 100000)"),
    Program(
        code="import os\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid(); os._exit(0)"
    ),
    Program(code="import os\nwhile True: os.write(1, b'x' * 65536)"),
    Program(argv=("sh", "-c", "mkfifo p; sleep 0.01 & exit 1")),
    Program(argv=("absent",)),
)


@pytest.mark.parametrize("number", range(KILLS))
def test_nothing_is_left_when_the_client_is_killed(number: int) -> None:
    state = ("idle", "busy", "asleep", "busy")[number % 4]
    run_id = f"kill-{os.getpid()}-{number}"
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, run_id, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0, 0.2))
        client.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + GONE_S
    while (left := _left(run_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_soak_leaves_no_trace_in_the_client_or_the_container() -> None:
    chooser = random.Random(7)
    with DockerSandbox() as sandbox:
        for program in FAULTS:
            sandbox.exec(program)
        before = _client_state()
        for _ in range(SOAK):
            sandbox.exec(chooser.choice(FAULTS), keep_files=chooser.random() < 0.3)
            sandbox.reset()
        assert sandbox.exec(Program(code="print('fine')")).stdout == "fine\n"
        inside = sandbox.exec(Program(argv=("sh", "-c", "ls /proc | grep -c '^[0-9]'; ls -A /tmp")))
        after = _client_state()
    descriptors, memory = (now - then for now, then in zip(after, before, strict=True))
    assert descriptors <= 0
    assert memory <= max(before[1] // 100, 4 << 20)
    processes, *files = inside.stdout.split()
    assert int(processes) <= 8
    assert files == ["work"]


def test_time_limits_hold_for_programs_that_resist() -> None:
    resisting = (
        "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "(10 ** (10 ** 7)) ** 97",
        "import os, time\nos.fork(); os.fork()\ntime.sleep(60)",
    )
    with DockerSandbox() as sandbox:
        for number in range(OVERRUNS):
            program = Program(code=resisting[number % len(resisting)])
            result = sandbox.exec(program, limits=Limits(timeout_s=0.5))
            assert (result.ending, result.exit_code) == ("timeout", None)


def test_a_flood_costs_the_client_no_memory() -> None:
    code = "import os\nfor _ in range(1 << 14): os.write(1, b'x' * 65536)"
    with DockerSandbox() as sandbox:
        sandbox.exec(Program(code="print(1)"))
        before = _client_state()[1]
        result = sandbox.exec(Program(code=code), limits=Limits(output_bytes=1 << 20))
        grown = _client_state()[1] - before
    assert (result.ending, result.truncated, len(result.stdout)) == ("output_limit", True, 1 << 20)
    assert grown <= 8 << 20


# The docker package does not close the socket of a connection that was refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_daemon_that_dies_ends_the_sandbox_and_not_the_client(
    own_daemon: subprocess.Popen[bytes],
) -> None:
    sandbox = DockerSandbox()
    sandbox.start()
    try:
        assert sandbox.exec(Program(code="print(1)")).ok
        own_daemon.kill()
        own_daemon.wait()
        with pytest.raises(SandboxDiedError):
            sandbox.exec(Program(code="print(2)"), limits=Limits(timeout_s=2))
        with pytest.raises(SandboxUnavailableError):
            sandbox.exec(Program(code="print(3)"))
    finally:
        sandbox.close()
        gc.collect()  # while the warning about those sockets is ignored


@pytest.fixture
def own_daemon(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[subprocess.Popen[bytes]]:
    """A second daemon that a test may kill."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a second daemon")
    folder = tmp_path_factory.mktemp("own-daemon")
    socket = f"unix://{folder}/docker.sock"
    options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    command = ["dockerd", "-H", socket, "--iptables=false", "--bridge=none"]
    command += [f"--{name}={folder}/{value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    monkeypatch.setenv("DOCKER_HOST", socket)
    try:
        _wait_for(daemon)
        yield daemon
    finally:
        daemon.terminate()
        daemon.wait()
        _kill_below(folder)


def _wait_for(daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            connect().close()
        except SandboxUnavailableError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the second daemon does not start")


def _kill_below(folder: Path) -> None:
    """Kill what the dead daemon has left: its containerd, shims, and mounts."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command:
            os.kill(int(entry.name), signal.SIGKILL)
    time.sleep(0.5)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(str(folder))]):
        subprocess.run(["umount", "-l", mount], check=False)


def _left(run_id: str) -> list[str]:
    client = connect()
    try:
        label = f"{reaper.LABEL_RUN}={run_id}"
        return [one["Id"] for one in client.api.containers(all=True, filters={"label": label})]
    finally:
        client.close()


def _client_state() -> tuple[int, int]:
    """Return this process's number of open descriptors and its memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(list(Path("/proc/self/fd").iterdir())), pages * os.sysconf("SC_PAGE_SIZE")
