"""An evolution killed at random moments resumes to the same end, and does nothing twice.

It practises, reflects, distils and judges; one distils into texts, one trains the seed model.
AGENTEVO_KILLS sets the number of kills of each, AGENTEVO_TRAINING_KILLS the share of them that aim at
the distillation; `-o log_cli=true -o log_cli_level=INFO` shows where they hit.
"""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.distillation.registry import AdapterRegistry
from agentevo.evolution import evolve, list_evolutions, resume_evolution
from agentevo.evolution.parts import Parts
from agentevo.generations import GenerationLog
from agentevo.graph import build_evolution_graph
from agentevo.objective import Objective
from agentevo.runs.checkpoints import open_checkpoints, read_ledger
from agentevo.runs.directory import run_directories
from agentevo_memory import VectorMemory

_LOG = logging.getLogger(__name__)
KILLS = int(os.environ.get("AGENTEVO_KILLS", "4"))
TRAINING_SHARE = float(os.environ.get("AGENTEVO_TRAINING_KILLS", "0.3"))
"""Share of the kills that aim at the distillation, which takes few events and much time."""
ATTEMPTS = 8
"""Kills that are tried for each that hits: some processes end before their moment comes."""
NURSERY = """
import importlib.util, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
spec = importlib.util.spec_from_file_location("believers", folder / "conftest.py")
believers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(believers)
def told(event):
    if not event["episode_id"]:
        os.write(1, f"event {event['type']}\\n".encode())
believers.warm_up(sys.argv[2])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            believers.go_on(sys.argv[2], Path(line.strip()), told)
        finally:
            os._exit(0)
    os.write(1, f"\\npid {child}\\n".encode())
    os.write(1, f"\\nended {os.waitpid(child, 0)[1]}\\n".encode())
"""
"""Loads everything once; each line of its input is a home, in which a forked process evolves."""


def contents(home: Path) -> Counter[tuple[str, ...]]:
    """What the served memory holds, without ids and times."""
    with VectorMemory(home / "memory", embedder="hashing") as memory:
        assert memory.verify().intact
        return Counter((r.kind, r.status, r.scope, r.text, r.task_id) for r in memory.records())


@dataclass(frozen=True)
class Moment:
    """When to kill: some seconds of its computing after the first event of a type."""

    type: str
    cpu_s: float


class Nursery:
    """Processes that evolve, and are killed."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, "-c", NURSERY, str(Path(__file__).parent), kind]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def killed(self, home: Path, moment: Moment) -> bool:
        """Let a process evolve until a moment comes; returns whether the kill hit it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{home}\n")
        self._process.stdin.flush()
        child, seen = 0, list[str]()
        for name, value in self._lines():
            if name == "ended":
                return os.WIFSIGNALED(int(value))
            if name == "pid":
                child = int(value)
            else:
                seen.append(value)
            if child and moment.type in seen:
                with suppress(FileNotFoundError, ProcessLookupError):
                    _wait(child, moment.cpu_s)
                    os.kill(child, signal.SIGKILL)
                child = 0
        raise AssertionError("the nursery broke")

    def _lines(self) -> Iterator[tuple[str, str]]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name, _, value = line.strip().partition(" ")
            yield name, value

    def close(self) -> None:
        self._process.communicate()


def _wait(process: int, seconds: float) -> None:
    """Wait until a process has computed for some seconds more."""
    end = _cpu_s(process) + seconds
    while _cpu_s(process) < end:
        time.sleep(0.002)


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def node_of(home: Path) -> str:
    """The node in which an evolution was killed."""
    found = list_evolutions(home)
    if not found:
        return "start"
    if found[0].read_report() is not None:
        return "end"
    with open_checkpoints(found[0].path / "checkpoints.sqlite") as saver:
        graph = build_evolution_graph().compile(checkpointer=saver)
        state = graph.get_state({"configurable": {"thread_id": found[0].id}})
    return state.next[0] if state.next else "exam" if state.values else "start"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("kind", ["texts", pytest.param("training", marks=pytest.mark.model)])
def test_kills_at_random_moments_change_nothing(
    kind: str, evolving: Callable[..., Any], tmp_path: Path, record_property: Callable[..., None]
) -> None:
    expected = tmp_path / "undisturbed"
    told: list[tuple[str, float]] = []
    undisturbed = evolving(
        kind,
        expected,
        lambda e: None if e["episode_id"] else told.append((e["type"], time.process_time())),
    )
    assert undisturbed.weights[0]["decision"] == "accepted"
    moments = _moments(told)
    nursery, home, nodes = Nursery(kind), tmp_path / "0", Counter[str]()
    for attempt in range(ATTEMPTS * KILLS):
        if nursery.killed(home, next(moments)):
            nodes[node_of(home)] += 1
            _LOG.info("kill %d of %d: %s", nodes.total(), KILLS, dict(nodes))
        found = list_evolutions(home)
        if nodes.total() == KILLS or (found and found[0].read_report() is not None):
            _compare(evolving(kind, home), undisturbed, home, expected)
            _LOG.info("%s came to the same end", home.name)
            home = tmp_path / str(attempt + 1)
        if nodes.total() == KILLS:
            break
    nursery.close()
    record_property("kills", dict(nodes))
    assert nodes.total() == KILLS
    assert nodes["update_in_weight"] >= KILLS // 5


def _moments(told: Sequence[tuple[str, float]]) -> Iterator[Moment]:
    """Yield random moments of an evolution that told these events, each with the time computed.

    Every stretch between two kinds of events is as likely; every fourth kill comes at its very
    start, where the shortest nodes are.
    """
    source = random.Random(7)
    lasts = {name: end - start for (name, start), (_, end) in pairwise(told)}
    start = next(at for name, at in told if name == "agentevo.taught")
    training = next(at for name, at in told if name == "agentevo.distillation_finished") - start
    while True:
        if source.random() < TRAINING_SHARE:
            yield Moment("agentevo.taught", source.random() * training)
        else:
            name = source.choice(list(lasts))
            yield Moment(name, source.random() * (lasts[name] if source.random() < 0.75 else 0.01))


@pytest.fixture
def start(
    make_settings: Callable[..., Settings],
    make_parts: Callable[[Path], Parts],
    two_worlds: Any,
    weighing: Any,
) -> Callable[..., Any]:
    def run(home: Path, parts: Parts | None = None) -> Any:
        return evolve(
            make_settings(home, **two_worlds),
            objective=Objective("quirks"),
            recipe=weighing(),
            parts=parts or make_parts(home),
        )

    return run


def _compare(last: Any, undisturbed: Any, home: Path, other: Path) -> None:
    assert last.status == "finished"
    assert last.rounds == tuple(json.loads(json.dumps(undisturbed.rounds)))
    assert last.weights == tuple(json.loads(json.dumps(undisturbed.weights)))
    assert last.adapter == undisturbed.adapter
    adapters, others = (AdapterRegistry(each / "adapters") for each in (home, other))
    assert adapters.ids() == others.ids()
    assert [a.adapter_id for a in adapters.history()] == [a.adapter_id for a in others.history()]
    assert set(last.rules) == set(undisturbed.rules)
    assert [arm.solved for arm in last.arms] == [arm.solved for arm in undisturbed.arms]
    assert contents(home) == contents(other)
    log = GenerationLog(home / "generations.sqlite")
    log.verify()
    expected = GenerationLog(other / "generations.sqlite")
    assert [e.kind for e in log.entries()] == [e.kind for e in expected.entries()]
    (directory,) = list_evolutions(home)
    for run in run_directories(directory.path):
        with read_ledger(run.checkpoints) as ledger:
            assert len(ledger.outcomes()) == len(ledger.fact("tasks"))


class Crash(BaseException):
    """The end of a process, without the process."""


MOMENTS = ("memory_updated", "round_finished", "taught", "distilling", "distillation_finished")


@pytest.mark.slow
def test_a_crash_around_a_verdict_or_a_distillation_leads_to_the_same_end(
    start: Callable[..., Any], make_parts: Callable[[Path], Parts], tmp_path: Path
) -> None:
    expected = tmp_path / "undisturbed"
    undisturbed = start(expected)
    for moment in (*MOMENTS, "weights_judged", "serving"):
        home = tmp_path / moment
        with pytest.raises(Crash):
            start(home, _fragile(make_parts(home), moment))
        _compare(
            resume_evolution(home, "last", parts=make_parts(home)), undisturbed, home, expected
        )


def _fragile(parts: Parts, moment: str) -> Parts:
    """Parts that crash at an event, or right after an adapter was served."""

    def crash(event: Any) -> None:
        if event["type"] == f"agentevo.{moment}":
            raise Crash

    made: Any = parts.distiller

    class Fragile(type(made)):  # type: ignore[misc]
        def serve(self, adapter_id: str | None, *, reason: str) -> None:
            super().serve(adapter_id, reason=reason)
            if moment == "serving" and adapter_id is not None:
                raise Crash

    return replace(parts, distiller=Fragile(made.home, made.base), on_event=crash)
