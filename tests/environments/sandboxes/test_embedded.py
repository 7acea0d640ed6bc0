import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentevo_environments.errors import (
    LimitsError,
    SandboxDiedError,
    SandboxError,
    SandboxUnavailableError,
    UnknownNameError,
)
from agentevo_environments.sandboxes import make_sandbox
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
from agentevo_environments.sandboxes.embedded.layout import make_layout
from agentevo_environments.sandboxes.embedded.slots import slot_count

MIB = 1 << 20


def test_auto_takes_the_strongest_tier_and_says_so(sandbox: EmbeddedSandbox) -> None:
    assert sandbox.containment.backend == "embedded"
    assert sandbox.containment.tier == "T1"
    assert len(sandbox.containment.contains) >= 10


def test_a_program_has_no_rights_at_all(sandbox: EmbeddedSandbox) -> None:
    status = sandbox.exec(Program(argv=("cat", "/proc/self/status"))).stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[kind], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert "0" not in fields["Uid"].split()


def test_the_package_and_its_tasks_cannot_be_read(sandbox: EmbeddedSandbox) -> None:
    code = (
        "import os\nfor top, _, names in os.walk('/'):\n"
        "    if 'agentevo' in top:\n        for name in names: print(name)"
    )
    seen = set(sandbox.exec(Program(code=code)).stdout.split())
    assert "protocol.py" in seen
    assert not {name for name in seen if name.endswith((".jsonl", ".gz"))}
    assert "environment.py" not in seen


def test_installed_packages_are_hidden_unless_given(tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text("x = 'given'")
    tmp_path.chmod(0o755)
    with EmbeddedSandbox(packages=[tmp_path]) as sandbox:
        assert sandbox.exec(Program(code="import given; print(given.x)")).stdout == "given\n"
        argv = ("python3", "-c", "import given; print(given.x)")
        assert sandbox.exec(Program(argv=argv)).stdout == "given\n"
        assert "No module" in sandbox.exec(Program(code="import pytest")).stderr


def test_a_packages_folder_with_hidden_tests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agentevo_environments").mkdir()
    with pytest.raises(ValueError, match="must not read"):
        make_layout([tmp_path])
    with pytest.raises(ValueError, match="does not exist"):
        make_layout([tmp_path / "absent"])


@pytest.mark.parametrize("tier", ["T1", "T2"])
def test_no_program_sees_the_sockets_of_others_at_the_same_time_or_before(tier: Any) -> None:
    listen = (
        "import socket, time\ns = socket.socket(socket.AF_UNIX)\n"
        "s.bind('\\0meeting')\ns.listen()\ntime.sleep(1)\nprint('heard')"
    )
    connect = (
        "import socket\nprint(open('/proc/net/unix').read().count('meeting'))\n"
        "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0meeting')"
    )
    slots = slot_count(1)
    with EmbeddedSandbox(tier=tier, parallel=1) as sandbox:
        for _ in range(slots):  # every network has had a listener
            ended = sandbox.exec(Program(code=listen.replace("sleep(1)", "sleep(0)")))
            assert ended.stdout == "heard\n"
    with EmbeddedSandbox(tier=tier, parallel=4) as sandbox, ThreadPoolExecutor(2) as clients:
        listeners = [clients.submit(sandbox.exec, Program(code=listen)) for _ in range(2)]
        time.sleep(0.3)
        for _ in range(slots):
            refused = sandbox.exec(Program(code=connect))
            assert (refused.stdout, refused.exit_code) == ("0\n", 1)
            assert "ConnectionRefusedError" in refused.stderr
        assert [ended.result().stdout for ended in listeners] == ["heard\n"] * 2


def test_memory_of_all_processes_together_is_limited(sandbox: EmbeddedSandbox) -> None:
    if sandbox.containment.not_contained:
        pytest.skip("no writable memory control group here")
    code = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        b = b'\\1' * (60 << 20); time.sleep(1); os._exit(0)\n"
        "fine = sum(os.wait()[1] == 0 for _ in range(8))\nprint(fine)"
    )
    result = sandbox.exec(Program(code=code), limits=Limits(memory_bytes=128 * MIB))
    assert result.ending == "memory_limit" or int(result.stdout) <= 2
    if result.ending == "exited":
        assert any("memory limit" in note for note in result.notes)


def test_without_control_groups_the_result_says_so() -> None:
    with EmbeddedSandbox(cgroups=False) as sandbox:
        assert any("not in total" in note for note in sandbox.exec(Program(code="pass")).notes)
        assert any("control group" in gap for gap in sandbox.containment.not_contained)


def test_children_that_outrun_their_parent_do_not_end_it(sandbox: EmbeddedSandbox) -> None:
    code = "import os, time\nif os.fork():\n    time.sleep(0.2)\n    print('parent')"
    result = sandbox.exec(Program(code=code))
    assert (result.stdout, result.exit_code) == ("parent\n", 0)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0])


def supervisors(processes: set[int]) -> list[int]:
    """Return the first processes of slots: pid 1, two pid namespaces below this one."""
    found = []
    for pid in processes:
        status = Path(f"/proc/{pid}/status").read_text()
        numbers = status.split("NSpid:")[1].splitlines()[0].split()
        if len(numbers) >= 3 and numbers[-1] == "1":
            found.append(pid)
    return found


def test_a_slot_that_is_killed_is_not_a_success(survey: Callable[[int], set[int]]) -> None:
    before = survey(os.getpid())
    with EmbeddedSandbox() as sandbox, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(sandbox.exec, Program(code="import time; time.sleep(9)"))
        time.sleep(0.5)
        keepers = [pid for pid in survey(os.getpid()) - before if parent(pid) == os.getpid()]
        for pid in supervisors(survey(keepers[0])):
            os.kill(pid, 9)
        assert (busy.result().ending, busy.result().exit_code) == ("killed", None)


def test_threads_and_exit_handlers_run_to_their_end(sandbox: EmbeddedSandbox) -> None:
    code = (
        "import atexit, threading, time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "atexit.register(print, 'last')\nThreadPoolExecutor(2).submit(print, 'pool')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()"
    )
    assert sorted(sandbox.exec(Program(code=code)).stdout.split()) == ["last", "pool", "thread"]
    assert sandbox.exec(Program(code="exit('bye')")).stderr == "bye\n"


@pytest.mark.parametrize("ending", ["import sys; sys.exit(3)", "raise SystemExit(3)", "exit(3)"])
def test_exit_statuses_are_those_of_an_interpreter(sandbox: EmbeddedSandbox, ending: str) -> None:
    assert sandbox.exec(Program(code=ending)).exit_code == 3


def test_files_beyond_the_limits_are_refused_before_anything_runs(sandbox: EmbeddedSandbox) -> None:
    big = Program(code="pass", files={"a": b"x" * 2 * MIB})
    with pytest.raises(LimitsError, match="file_bytes"):
        sandbox.exec(big, limits=Limits(file_bytes=MIB))
    with pytest.raises(LimitsError, match="disk_bytes"):
        sandbox.exec(big, limits=Limits(disk_bytes=MIB))
    with pytest.raises(LimitsError, match="at least"):
        sandbox.exec(Program(code="pass"), limits=Limits(memory_bytes=1))


def test_sparse_and_unreadable_files_are_left_out_and_named(sandbox: EmbeddedSandbox) -> None:
    code = (
        "import os\nfor n in range(9):\n    open(f's{n}', 'wb').truncate(16 << 20)\n"
        "open('closed', 'w').write('x')\nos.chmod('closed', 0)"
    )
    result = sandbox.exec(Program(code=code), keep_files=True)
    assert len(sandbox.workspace()) == 4
    assert any("6 files" in note for note in result.notes)
    sandbox.reset()


def test_a_killed_thread_of_the_client_kills_nothing() -> None:
    started: list[EmbeddedSandbox] = []

    def start() -> None:
        sandbox = EmbeddedSandbox()
        sandbox.start()
        started.append(sandbox)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        assert started[0].exec(Program(code="print(1)")).stdout == "1\n"
    finally:
        started[0].close()


def test_more_threads_than_slots_wait_their_turn() -> None:
    with EmbeddedSandbox(parallel=2) as sandbox, ThreadPoolExecutor(8) as threads:
        codes = [Program(code=f"print({n})") for n in range(24)]
        outputs = [result.stdout for result in threads.map(sandbox.exec, codes)]
    assert outputs == [f"{n}\n" for n in range(24)]


def test_a_fork_of_the_client_is_told_to_start_its_own(sandbox: EmbeddedSandbox) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.exec(Program(code="pass"))
        except SandboxDiedError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert sandbox.exec(Program(code="print(1)")).ok


def test_a_second_start_is_refused(sandbox: EmbeddedSandbox) -> None:
    with pytest.raises(SandboxError, match="make a new one"):
        sandbox.start()


def test_the_unsafe_tier_must_be_asked_for() -> None:
    with pytest.raises(SandboxUnavailableError, match="allow_unsafe=True"):
        EmbeddedSandbox(tier="T4").start()


def test_without_bubblewrap_the_first_tier_says_what_to_install() -> None:
    code = (
        "from agentevo_environments.sandboxes.embedded import EmbeddedSandbox, launch\n"
        "launch.find_bubblewrap() is None or exit(7)\nEmbeddedSandbox(tier='T1').start()"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
    )
    if found.returncode == 7:
        pytest.skip("bubblewrap is in /usr/bin here")
    assert "apt-get install bubblewrap" in found.stderr


def test_unknown_backends_are_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="docker, embedded, monty"):
        make_sandbox("dokcer")
    assert isinstance(make_sandbox("embedded", tier="T1"), EmbeddedSandbox)
