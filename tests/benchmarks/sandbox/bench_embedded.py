"""The embedded sandbox beside bubblewrap per execution and a bare fork server, in one run.

    python tests/benchmarks/sandbox/bench_embedded.py [rounds]

All contenders run `print(6*7)` in turn, so that the load of the machine is the same for all; the
ratios are what counts. The bare fork server contains nothing: it is the floor.
"""

import json
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
from agentevo_environments.sandboxes.embedded.layout import interpreter

PAUSE_S = 0.04
CODE = "print(6*7)"
BARE_SERVER = r"""
import io, os, struct, sys
while True:
    head = sys.stdin.buffer.read(4)
    if not head: break
    code = sys.stdin.buffer.read(struct.unpack('!I', head)[0]).decode()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, 'w'))
        try: exec(compile(code, '<cell>', 'exec'), {'__name__': '__main__'})
        finally:
            sys.stdout.flush(); os._exit(0)
    os.close(write)
    out = b''
    while part := os.read(read, 65536): out += part
    os.close(read); os.waitpid(pid, 0)
    sys.stdout.buffer.write(struct.pack('!I', len(out)) + out); sys.stdout.buffer.flush()
"""


class BareForkServer:
    """A Python process that forks for each program and isolates nothing."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [interpreter(), "-I", "-S", "-c", BARE_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self) -> None:
        """Run the program."""
        ours, theirs = self._process.stdin, self._process.stdout
        assert ours is not None
        assert theirs is not None
        ours.write(struct.pack("!I", len(CODE)) + CODE.encode())
        ours.flush()
        assert theirs.read(struct.unpack("!I", theirs.read(4))[0]) == b"42\n"

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def run_in_bubblewrap() -> None:
    """Run the program in a bubblewrap of its own."""
    prefix = interpreter().parent.parent
    arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc"]
    arguments += ["--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]
    for path in ("/usr", "/bin", "/lib", "/lib64", str(prefix)):
        arguments += ["--ro-bind-try", path, path]
    finished = subprocess.run(
        [*arguments, interpreter(), "-I", "-S", "-c", CODE], capture_output=True, env={}, check=True
    )
    assert finished.stdout == b"42\n"


def paced(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of each contender, in turn, with pauses as between an agent's calls."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * 1e3)
    return times


def throughput(run: Callable[[], object], clients: int, seconds: float) -> float:
    """Return runs per second of several threads."""
    counts = [0] * clients
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        while time.perf_counter() < end:
            run()
            counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def overruns(sandbox: EmbeddedSandbox, rounds: int) -> list[float]:
    """Return by how many milliseconds executions outlive their limit: loops, and hangs in C."""
    codes = (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "(10 ** (10 ** 7)) ** 97",
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0: break\ntime.sleep(60)",
    )
    found = []
    for number in range(rounds):
        began = time.perf_counter()
        result = sandbox.exec(Program(code=codes[number % 3]), limits=Limits(timeout_s=0.2))
        assert result.ending == "timeout"
        found.append((time.perf_counter() - began - 0.2) * 1e3)
    return found


def flood(sandbox: EmbeddedSandbox) -> dict[str, float]:
    """Return by how much a flood of 1 GB makes this process grow, and when the reply came."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = "import os\nb = b'x' * 65536\nfor _ in range(16384): os.write(1, b)"
    began = time.perf_counter()
    result = sandbox.exec(Program(code=code))
    assert result.truncated
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"growth_kib": grown, "cap_kib": 64, "reply_ms": (time.perf_counter() - began) * 1e3}


def figures(times: list[float]) -> dict[str, float]:
    """Return the usual percentiles."""
    cuts = statistics.quantiles(times, n=100)
    return {"p5": cuts[4], "p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def main(rounds: int) -> None:
    """Measure and print."""
    with ExitStack() as stack:
        began = time.perf_counter()
        sandbox = stack.enter_context(EmbeddedSandbox())
        sandbox.exec(Program(code=CODE))
        start_s = time.perf_counter() - began
        second = stack.enter_context(EmbeddedSandbox())
        bare = BareForkServer()
        stack.callback(bare.close)
        runs: dict[str, Callable[[], object]] = {
            "embedded": lambda: sandbox.exec(Program(code=CODE)),
            "bare fork server": bare.run,
        }
        if shutil.which("bwrap"):
            runs["bubblewrap per execution"] = run_in_bubblewrap
        times = paced(runs, rounds)
        rates = {"embedded x2": 0.0, "bubblewrap x2": 0.0}
        for _ in range(3):
            rates["embedded x2"] += throughput(lambda: sandbox.exec(Program(code=CODE)), 2, 2) / 3
            if "bubblewrap per execution" in runs:
                rates["bubblewrap x2"] += throughput(run_in_bubblewrap, 2, 2) / 3
        report = {
            "tier": sandbox.containment.tier,
            "load": os.getloadavg(),
            "start_to_first_result_s": start_s,
            "paced_ms": {name: figures(values) for name, values in times.items()},
            "per_second": rates,
            "timeout_overrun_ms": figures(overruns(second, max(30, rounds // 4))),
            "flood": flood(second),
            "memory_kib": sum(_pss(pid) for pid in _below(os.getpid())) / 2,
        }
    medians = {name: figures(values)["p50"] for name, values in times.items()}
    report["ratios"] = {
        "embedded / bare fork server, p50": medians["embedded"] / medians["bare fork server"],
        "bubblewrap / embedded, p50": medians.get("bubblewrap per execution", 0)
        / medians["embedded"],
        "throughput embedded / bubblewrap": rates["embedded x2"] / (rates["bubblewrap x2"] or 1),
    }
    print(json.dumps(report, indent=2))


def _below(root: int) -> list[int]:
    children = Path(f"/proc/{root}/task").glob("*/children")
    found = [int(pid) for file in children for pid in file.read_text().split()]
    return [*found, *(below for pid in found for below in _below(pid))]


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
