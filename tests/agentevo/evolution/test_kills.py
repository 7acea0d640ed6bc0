"""An evolution killed at random moments resumes to the same end, and does nothing twice.

It practises, reflects, distils and judges; AGENTEVO_KILLS sets the number of kills.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.distillation.registry import AdapterRegistry
from agentevo.evolution import evolve, list_evolutions, resume_evolution
from agentevo.evolution.parts import Parts
from agentevo.generations import GenerationLog
from agentevo.objective import Objective
from agentevo.runs.checkpoints import read_ledger
from agentevo.runs.directory import run_directories
from agentevo.runs.event_log import read_events
from agentevo_memory import VectorMemory

KILLS = int(os.environ.get("AGENTEVO_KILLS", "6"))
CHILD = """
import importlib.util, sys
from pathlib import Path
folder, home = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(folder))
spec = importlib.util.spec_from_file_location("believers", folder / "conftest.py")
believers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(believers)
from agentevo.distillation.registry import AdapterRegistry
from agentevo.evolution import evolve, list_evolutions, resume_evolution
from agentevo.evolution.parts import Parts
from agentevo.objective import Objective
model = believers.Believer()
parts = Parts(model, "hashing", believers.TextDistiller(home, model),
              on_event=lambda event: print(flush=True))
if list_evolutions(home):
    resume_evolution(home, "last", parts=parts)
else:
    evolve(believers.quirks_settings(home, **believers.TWO_WORLDS), objective=Objective("quirks"),
           recipe=believers.weighing_recipe(), parts=parts)
"""


def contents(home: Path) -> Counter[tuple[str, ...]]:
    """What the served memory holds, without ids and times."""
    with VectorMemory(home / "memory", embedder="hashing") as memory:
        assert memory.verify().intact
        return Counter((r.kind, r.status, r.scope, r.text, r.task_id) for r in memory.records())


def killed_after(home: Path, events: int) -> bool:
    """Let a process evolve, kill it after some events; returns whether it had ended by itself."""
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(events):
            if not child.stdout.readline():
                break
        time.sleep(random.Random(events).random() * 0.05)
        child.send_signal(signal.SIGKILL)
        return child.wait() == 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_random_moments_change_nothing(
    start: Callable[..., Any], make_parts: Callable[[Path], Parts], tmp_path: Path
) -> None:
    expected = tmp_path / "undisturbed"
    undisturbed = start(expected)
    assert undisturbed.weights[0]["decision"] == "accepted"
    events = sum(1 for _ in read_all_events(expected))
    source, home, last = random.Random(7), tmp_path / "0", None
    for kill in range(KILLS):
        killed_after(home, source.randrange(1, events))
        found = list_evolutions(home)
        if kill == KILLS - 1 or (found and found[0].read_report() is not None):
            last = resume_evolution(home, "last", parts=make_parts(home)) if found else start(home)
            _compare(last, undisturbed, home, expected)
            home = tmp_path / str(kill + 1)
    assert last is not None


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


def read_all_events(home: Path) -> Iterator[Any]:
    """Yield every event of the evolution and of its episodes."""
    (directory,) = list_evolutions(home)
    for path in directory.path.rglob("events.jsonl"):
        yield from read_events(path)


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
