"""How long `agentevo --help` takes, beside a bare interpreter and an import of the agent stack.

Run as a script. Goal: help under 0.5 s.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import typer and rich": ["-c", "import typer, rich.console"],
    "agentevo --help": ["-m", "agentevo", "--help"],
    "agentevo runs --help": ["-m", "agentevo", "runs", "--help"],
    "agentevo config show": ["-m", "agentevo", "config", "show"],
    "import langgraph.graph": ["-c", "import langgraph.graph"],
}


def measure_s(arguments: list[str]) -> float:
    """Return the seconds that one process takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Interleave the commands, so that a busy machine slows all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(measure_s(arguments))
    bare = statistics.median(times["bare interpreter"])
    print(f"{'process':26} {'median':>8} {'best':>8}   x bare")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:26} {middle:7.3f}s {min(values):7.3f}s {middle / bare:8.1f}")


if __name__ == "__main__":
    main()
