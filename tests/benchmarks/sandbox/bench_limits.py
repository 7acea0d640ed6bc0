"""What the sandboxes cost besides time per execution, and how closely limits of time and output hold.

    python tests/benchmarks/sandbox/bench_limits.py [rounds]

For each backend: seconds until the first result, how much longer than allowed executions take that
resist their end, what a flood of 1 GB costs the client, and the memory of the idle sandbox; for
Docker also the making of the image.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from agentevo_environments.errors import SandboxUnavailableError
from agentevo_environments.sandboxes.base import Limits, Program, Sandbox
from agentevo_environments.sandboxes.docker import DockerSandbox, image
from agentevo_environments.sandboxes.docker.daemon import connect
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

ROUNDS = 60
TIMEOUT_S = 0.2
OUTPUT_BYTES = 1 << 20
RESISTING = (
    "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    "(10 ** (10 ** 7)) ** 97",
    "import os, time\nfor _ in range(8):\n    if os.fork() == 0: break\ntime.sleep(60)",
)
FLOOD = "import os\nb = b'x' * 65536\nfor _ in range(16384): os.write(1, b)"


def measure(name: str, make: Callable[[], Sandbox], rounds: int) -> None:
    """Measure one backend and print its figures."""
    began = time.perf_counter()
    with make() as sandbox:
        sandbox.exec(Program(code="print(6 * 7)"))
        print(f"{name}: {sandbox.containment.tier}")
        print(f"  start to first result      {time.perf_counter() - began:8.2f} s")
        time.sleep(0.5)
        below = _below(os.getpid())
        if below:
            print(f"  memory when idle           {sum(map(_pss, below)) / 1024:8.1f} MB")
        late = overruns(sandbox, rounds)
        print(f"  timeout overrun p50        {statistics.median(late):8.1f} ms")
        print(f"  timeout overrun p99        {statistics.quantiles(late, n=100)[98]:8.1f} ms")
        growth, reply_s = flood(sandbox)
        print(f"  growth in a flood of 1 GB  {growth / OUTPUT_BYTES:8.2f} x the limit")
        print(f"  reply to it after          {reply_s * 1000:8.1f} ms")


def overruns(sandbox: Sandbox, rounds: int) -> list[float]:
    """Return by how many milliseconds executions outlive their limit: loops, and hangs in C."""
    found = []
    for number in range(rounds):
        began = time.perf_counter()
        program = Program(code=RESISTING[number % len(RESISTING)])
        result = sandbox.exec(program, limits=Limits(timeout_s=TIMEOUT_S))
        if result.ending != "timeout":
            raise SystemExit(f"no timeout but {result!r}")
        found.append((time.perf_counter() - began - TIMEOUT_S) * 1000)
    return found


def flood(sandbox: Sandbox) -> tuple[int, float]:
    """Return by how many bytes this process grows at most in a flood, and when the reply came."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now
    before = _status("VmHWM")
    began = time.perf_counter()
    result = sandbox.exec(Program(code=FLOOD), limits=Limits(output_bytes=OUTPUT_BYTES))
    if not result.truncated:
        raise SystemExit(f"not truncated: {result.ending}")
    return _status("VmHWM") - before, time.perf_counter() - began


def measure_image() -> None:
    """Make the image once more and print how long that takes and how large it is."""
    client = connect()
    name = f"agentevo-benchmark-{os.getpid()}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "image.tar")
            began = time.perf_counter()
            image.write_archive(archive)
            client.api.import_image(str(archive), repository=name)
            took_s = time.perf_counter() - began
        made = client.images.get(name)
        print(f"docker image: {took_s:.2f} s, {made.attrs['Size'] / 1e6:.1f} MB")
        client.api.remove_image(name)
    finally:
        client.close()


def main(rounds: int) -> None:
    """Measure and print."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors, {rounds} timeouts each")
    measure("embedded", EmbeddedSandbox, rounds)
    try:
        measure_image()
        measure("docker", DockerSandbox, rounds)
    except SandboxUnavailableError as error:
        print(f"left out: docker: {error}", file=sys.stderr)


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) << 10


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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
