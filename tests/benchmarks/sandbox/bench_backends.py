"""Round trip of `print(6 * 7)`: our sandboxes against other ways, interleaved in one run.

    python tests/benchmarks/sandbox/bench_backends.py --rounds 8 --out backends.png

Every way runs a batch in every round, so that a busy machine slows all of them alike; the
ratios are the result. It needs root, a Docker daemon and bubblewrap for all rows; what is missing
is left out and named.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from peers import Call, bubblewrap, docker_exec, docker_run, fork_server, plain_subprocess

from agentevo_environments.errors import SandboxUnavailableError
from agentevo_environments.sandboxes.base import Program, Sandbox
from agentevo_environments.sandboxes.docker import DockerSandbox
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

CODE = "print(6 * 7)"
EXPECTED = "42"
PAUSE_S = 0.02
SETTLE_S = 1.0
BATCH = 12
CLIENTS = (1, 2, 4)

PICTURE = Path(tempfile.gettempdir(), "agentevo-sandboxes.png")

Contenders = dict[str, list[Call]]


def main() -> None:
    """Measure, print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each throughput test")
    parser.add_argument("--out", type=Path, default=PICTURE, help="where to write the picture")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        contenders = collect(stack)
        latencies = measure_latency(contenders, arguments.rounds)
        rates = measure_throughput(contenders, arguments.seconds)
    print_table(latencies, rates)
    draw(latencies, rates, arguments.out)
    print(f"picture: {arguments.out}")


def collect(stack: ExitStack) -> Contenders:
    """Start every way that works here, one instance per client."""
    found: Contenders = {}
    makers: dict[str, Callable[[ExitStack], Call]] = {
        "embedded": lambda stack: sandbox_call(stack, EmbeddedSandbox()),
        "docker, uid": lambda stack: sandbox_call(stack, DockerSandbox()),
        "bare fork server": lambda stack: fork_server(stack, CODE),
        "plain subprocess": lambda stack: plain_subprocess(stack, CODE),
        "bubblewrap": lambda stack: bubblewrap(stack, CODE),
        "docker exec": lambda stack: docker_exec(stack, CODE),
        "docker, container": lambda stack: sandbox_call(
            stack, DockerSandbox(per_exec="container", spare=1)
        ),
        "docker run --rm": lambda stack: docker_run(stack, CODE),
    }
    for name, make in makers.items():
        try:
            found[name] = [make(stack) for _ in range(max(CLIENTS))]
        except (SandboxUnavailableError, OSError) as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return found


def sandbox_call(stack: ExitStack, sandbox: Sandbox) -> Call:
    """Return a call of a started sandbox."""
    stack.enter_context(sandbox)
    return lambda: sandbox.exec(Program(code=CODE)).stdout


def batch_size(name: str) -> int:
    """Return how many calls of a way belong to one round."""
    return 3 if name in ("docker run --rm", "docker, container") else BATCH


def measure_latency(contenders: Contenders, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds per call, one client, with a pause between calls."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, calls in contenders.items():
            for _ in range(batch_size(name)):
                started = time.perf_counter()
                output = calls[0]()
                taken[name].append((time.perf_counter() - started) * 1000)
                if output.strip() != EXPECTED:
                    raise SystemExit(f"{name} answered {output!r}")
                time.sleep(PAUSE_S)
            if batch_size(name) < BATCH:
                time.sleep(SETTLE_S)  # while containers are made and removed behind it
    return taken


def measure_throughput(contenders: Contenders, seconds: float) -> dict[str, list[float]]:
    """Return executions per second for each number of clients."""
    return {
        name: [rate(calls[:clients], seconds) for clients in CLIENTS]
        for name, calls in contenders.items()
    }


def rate(calls: list[Call], seconds: float) -> float:
    """Return how many executions per second these clients get together."""
    deadline = time.perf_counter() + seconds

    def work(call: Call) -> int:
        done = 0
        while time.perf_counter() < deadline:
            call()
            done += 1
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(len(calls)) as threads:
        total = sum(threads.map(work, calls))
    return total / (time.perf_counter() - started)


def print_table(latencies: dict[str, list[float]], rates: dict[str, list[float]]) -> None:
    """Print milliseconds, rates, and the ratios that matter."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    print(
        f"{'way':20}{'p5':>9}{'p50':>9}{'p95 ms':>9}" + "".join(f"{f'x{n}/s':>9}" for n in CLIENTS)
    )
    for name, taken in latencies.items():
        cuts = statistics.quantiles(taken, n=20)
        row = (cuts[0], statistics.median(taken), cuts[-1], *rates[name])
        print(f"{name:20}" + "".join(f"{value:9.1f}" for value in row))
    medians = {name: statistics.median(taken) for name, taken in latencies.items()}
    for slow, fast in (
        ("docker exec", "docker, uid"),
        ("docker run --rm", "docker, uid"),
        ("bubblewrap", "embedded"),
        ("bare fork server", "embedded"),
    ):
        if slow in medians and fast in medians:
            print(f"{slow} / {fast}: {medians[slow] / medians[fast]:.1f} x")
    if "bubblewrap" in rates and "embedded" in rates:
        print(
            f"embedded / bubblewrap, two clients: {rates['embedded'][1] / rates['bubblewrap'][1]:.1f} x"
        )


def draw(latencies: dict[str, list[float]], rates: dict[str, list[float]], out: Path) -> None:
    """Draw latency and throughput, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(latencies)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    medians = [statistics.median(latencies[name]) for name in names]
    tails = [statistics.quantiles(latencies[name], n=20)[-1] for name in names]
    left.barh(names, tails, color="#c9d6df", label="p95")
    left.barh(names, medians, height=0.5, color="#30638e", label="p50")
    left.set(xscale="log", xlabel="milliseconds per execution")
    left.invert_yaxis()
    left.legend()
    for name in names:
        right.plot(CLIENTS, rates[name], marker="o", label=name)
    right.set(yscale="log", xlabel="clients", ylabel="executions per second", xticks=CLIENTS)
    right.legend(fontsize="small")
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main()
