"""What an episode costs outside model and sandbox, beside a bare LangGraph graph.

Every kind is timed in turn within one process, with `durability="sync"`, a new thread per episode
and eight graph steps per episode. With HumanEval at hand, the throughput of a whole run follows.

Run: python tests/benchmarks/bench_episode.py [EPISODES]
"""

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from agentevo.config import Settings
from agentevo.episode import Budgets
from agentevo.models.replay import ReplaySource
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.drain import Drain
from agentevo.runs.event_log import EventLog
from agentevo.runs.worker import EpisodeParts, EpisodeWorker, World
from agentevo.runtime import run
from agentevo_environments import Action, Environment, Grade, Observation, Task, TaskId, ToolSpec

_GRAPH_STEPS = 8
_SHARED = Path(os.environ.get("AGENTEVO_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))


class Three(Environment):
    """Done after three actions; costs nothing."""

    name: ClassVar[str] = "three"
    step_limit = 8

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [Task(TaskId(f"t{index}"), "Act three times.") for index in range(n or 1)]

    def reset(self, task: Task) -> Observation:
        self.count = 0
        return Observation("")

    def step(self, action: Action) -> Observation:
        self.count += 1
        return Observation("ok", done=self.count == 3)

    def grade(self) -> Grade:
        return Grade(1.0, solved=True)

    def tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec("act", "Act.", {"type": "object", "properties": {}})]

    def oracle(self, task: Task) -> Sequence[Action]:
        return [Action("act")] * 3

    def snapshot(self) -> int:
        return self.count


class Bare(TypedDict):
    """The smallest state that makes steps."""

    step: int


def bare_episode(saver: SqliteSaver) -> Callable[[Task], float]:
    """Return a function that takes a bare graph through one episode's steps; seconds per step."""
    builder = StateGraph(Bare)
    builder.add_node("count", lambda state: {"step": state["step"] + 1})
    builder.add_edge(START, "count")
    builder.add_conditional_edges(
        "count", lambda state: "count" if state["step"] < _GRAPH_STEPS else END, ["count", END]
    )
    graph = builder.compile(checkpointer=saver)

    def once(task: Task) -> float:
        config: Any = {"configurable": {"thread_id": task.id}}
        started = time.perf_counter()
        graph.invoke({"step": 0}, config, durability="sync")
        return (time.perf_counter() - started) / _GRAPH_STEPS

    return once


def full_episode(saver: SqliteSaver, folder: Path, stack: ExitStack) -> Callable[[Task], float]:
    """Return a function that does one recorded episode; seconds per step outside its parts."""
    events = stack.enter_context(EventLog(folder / "events.jsonl"))
    parts = EpisodeParts(
        "r", ReplaySource("oracle"), None, Budgets(), "sync", saver, Ledger(saver), events, Drain()
    )
    worker = stack.enter_context(EpisodeWorker(parts, lambda: World(Three())))

    def once(task: Task) -> float:
        started = time.perf_counter()
        result = worker(task)
        seconds = time.perf_counter() - started
        assert result is not None
        assert (result.solved, result.graph_steps) == (True, _GRAPH_STEPS)
        return (seconds - result.model_s - result.environment_s) / _GRAPH_STEPS

    return once


def compare(synchronous: Any, episodes: int) -> None:
    """Time the kinds in turn and print their medians with ratios."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, ExitStack() as stack:
        folder = Path(name)
        stock = sqlite3.connect(folder / "stock.sqlite", check_same_thread=False)
        stack.callback(stock.close)
        stock.execute(f"PRAGMA synchronous={synchronous}")

        def opened(file: str) -> SqliteSaver:
            return stack.enter_context(open_checkpoints(folder / file, synchronous=synchronous))

        kinds = {
            "bare graph, LangGraph's saver": bare_episode(SqliteSaver(stock)),
            "bare graph, this saver": bare_episode(opened("bare.sqlite")),
            "episode, events and ledger": full_episode(opened("full.sqlite"), folder, stack),
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for task in Three().tasks(n=episodes + 3):
            for kind, once in kinds.items():
                times[kind].append(once(task))
    first = statistics.median(next(iter(times.values()))[3:])
    for kind, seconds in times.items():
        ordered = sorted(seconds[3:])
        median, low = statistics.median(ordered), ordered[len(ordered) // 10]
        print(
            f"{synchronous:7}{kind:32}{1e3 * median:7.2f} ms/step p50{1e3 * low:7.2f} p10"
            f"{median / first:6.2f} x bare"
        )


def throughput() -> None:
    """Run HumanEval with its known solutions and print what a task costs."""
    tasks = _SHARED / "HumanEval.jsonl.gz"
    if not tasks.exists():
        print("HumanEval is not here; set AGENTEVO_SHARED_DATA to see the throughput")
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as home:
        for concurrency in (1, 2):
            given = {"home": home, "env": {"tasks": tasks}, "run": {"concurrency": concurrency}}
            report = run(Settings.model_validate(given))
            split = ", ".join(f"{key} {value:.2f}" for key, value in report.time_split().items())
            print(
                f"HumanEval {report.solved}/{report.total}, concurrency {concurrency}: "
                f"{report.total / report.seconds:.1f} tasks/s; per graph step {split}"
            )


def main() -> None:
    """Print all comparisons."""
    episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for synchronous in ("FULL", "NORMAL"):
        compare(synchronous, episodes)
    throughput()


if __name__ == "__main__":
    main()
