"""Round trip of `print(6 * 7)`: our sandboxes against other ways, interleaved in one run.

    python tests/benchmarks/sandbox/bench_backends.py --rounds 8 --out backends.png

Every way runs a batch in every round, so that a busy machine slows all of them alike; the
ratios are the result. It needs root, a Docker daemon and bubblewrap for all rows; what is missing
is left out and named.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from agentevo_environments.errors import SandboxUnavailableError
from agentevo_environments.sandboxes.base import Program, Sandbox
from agentevo_environments.sandboxes.docker import DockerSandbox
from agentevo_environments.sandboxes.docker.daemon import connect
from agentevo_environments.sandboxes.docker.image import ensure_image
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox

CODE = "print(6 * 7)"
EXPECTED = "42"
PAUSE_S = 0.02
CLIENTS = (1, 2, 4)

Call = Callable[[], str]
Contenders = dict[str, list[Call]]

FORK_SERVER = """
import os, sys, io
while (line := sys.stdin.readline()):
    read, write = os.pipe()
    if os.fork() == 0:
        os.dup2(write, 1)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"))
        exec(eval(line), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    output = b""
    while part := os.read(read, 65536):
        output += part
    os.close(read)
    os.wait()
    sys.stdout.write(repr(output.decode()) + "\\n")
    sys.stdout.flush()
"""


def main() -> None:
    """Measure, print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each throughput test")
    parser.add_argument("--out", type=Path, help="where to write the picture (PNG)")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        contenders = collect(stack)
        latencies = measure_latency(contenders, arguments.rounds)
        rates = measure_throughput(contenders, arguments.seconds)
    print_table(latencies, rates)
    if arguments.out:
        draw(latencies, rates, arguments.out)


def collect(stack: ExitStack) -> Contenders:
    """Start every way that works here, one instance per client."""
    found: Contenders = {}
    makers: dict[str, Callable[[ExitStack], Call]] = {
        "embedded": lambda stack: sandbox_call(stack, EmbeddedSandbox()),
        "docker, uid": lambda stack: sandbox_call(stack, DockerSandbox()),
        "docker, container": lambda stack: sandbox_call(
            stack, DockerSandbox(per_exec="container", spare=1)
        ),
        "bare fork server": fork_server,
        "plain subprocess": lambda _: command_call([sys.executable, "-I", "-S", "-c", CODE]),
        "bubblewrap": bubblewrap,
        "docker exec": docker_exec,
        "docker run --rm": docker_run,
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


def command_call(command: list[str], **options: object) -> Call:
    """Return a call that starts a process."""

    def call() -> str:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            command, capture_output=True, text=True, check=True, **options
        ).stdout

    return call


def fork_server(stack: ExitStack) -> Call:
    """Return a call of a server that forks and contains nothing: the floor."""
    server = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FORK_SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    assert server.stdin
    assert server.stdout
    stdin, stdout = server.stdin, server.stdout

    def call() -> str:
        stdin.write(repr(CODE) + "\n")
        stdin.flush()
        return str(eval(stdout.readline()))

    return call


def bubblewrap(_: ExitStack) -> Call:
    """Return a call that starts bubblewrap, as an unprivileged user."""
    program = shutil.which("bwrap")
    if program is None:
        raise OSError("bwrap is not installed")
    folders = {"/usr", "/lib", "/lib64", "/bin"} & {str(path) for path in Path("/").iterdir()}
    binds = [part for folder in sorted(folders) for part in ("--ro-bind", folder, folder)]
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", *binds]
    command += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    python = next(path for path in ("/usr/bin/python3", sys.executable) if Path(path).exists())
    as_nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    return command_call([*command, python, "-I", "-S", "-c", CODE], env={}, **as_nobody)


def docker_exec(stack: ExitStack) -> Call:
    """Return a call of the daemon's exec in a container that idles."""
    client = connect()
    stack.callback(client.close)
    container = client.containers.run(
        ensure_image(client), ["sleep", "3600"], detach=True, network_mode="none", auto_remove=True
    )
    stack.callback(container.remove, force=True)
    command = ["python3", "-I", "-S", "-c", CODE]
    return lambda: b"".join([container.exec_run(command).output]).decode()  # type: ignore[list-item]


def docker_run(stack: ExitStack) -> Call:
    """Return a call that makes a container for every execution."""
    client = connect()
    stack.callback(client.close)
    image = ensure_image(client)
    command = ["python3", "-I", "-S", "-c", CODE]
    return lambda: bytes(
        client.containers.run(image, command, network_mode="none", remove=True)
    ).decode()


def batch_size(name: str) -> int:
    """Return how many calls of a way belong to one round."""
    return 3 if name in ("docker run --rm", "docker, container") else 12


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
