"""One call from runs to a candidate adapter: real runs of the seed model, resumable after a kill."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agentevo.config import load_settings
from agentevo.distillation.decontamination import Decontaminator
from agentevo.distillation.distiller import Distiller
from agentevo.distillation.jobs import open_job
from agentevo.distillation.practice import Setting, Teachable
from agentevo.distillation.settings import TrainSettings
from agentevo.errors import AdapterError
from agentevo.recall import Recalled
from agentevo.runs.directory import create_run
from agentevo.runs.run import RunPlan, carry_out
from agentevo.runs.worker import World
from agentevo.runtime import environment_of, model_of
from agentevo.seed_model.measures import world_of
from agentevo.seed_model.shipped import seed_model_path
from agentevo.updating.in_weight import setting_of
from agentevo_environments.task import Task
from agentevo_memory import VectorMemory

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

KILLS = int(os.environ.get("AGENTEVO_DISTILLATION_KILLS", "2"))
OPTIONS = {"tasks_per_world": 8}
FRESH = ("Sola", "Deku", "Vima")


class Told:
    """A memory that tells every rule of a scope."""

    def __init__(self, rules: dict[str, dict[str, str]]) -> None:
        self.rules = rules

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> list[Recalled]:
        return [
            Recalled(name, "rule", text, 1.0, trusted=True)
            for name, text in self.rules.get(scope, {}).items()
        ]

    def observe(self, outcome: object) -> None:
        del outcome


@pytest.fixture(scope="module")
def practised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Distiller]:
    """A run of sixteen tasks of two worlds with their rules told, and its distiller."""
    home = tmp_path_factory.mktemp("home")
    settings = load_settings(
        {
            "home": home,
            "env": {"name": "quirks", "n": 16, "options": OPTIONS},
            "model": {"spec": "seed"},
        },
        environ={},
    )
    with closing(environment_of(settings)) as environment:
        tasks = environment.tasks("test", 16, 0)
        with closing(VectorMemory(home / "memory", embedder="hashing")) as memory:
            setting = setting_of(environment, memory)
    rules = {task.scope: rules_of(task) for task in tasks}
    directory = create_run(settings, "practice")
    plan = RunPlan(
        settings, tasks, model_of(settings), lambda: World(environment_of(settings)), Told(rules)
    )
    report = carry_out(directory, plan)
    assert sum(episode.solved for episode in report.episodes) >= 12
    known = {name: Teachable(text) for told in rules.values() for name, text in told.items()}
    distiller = Distiller(
        home,
        seed_model_path(),
        replace(setting, rules=known),
        FRESH,
        train=TrainSettings(steps=6, checkpoint_every=2),
    )
    return directory.checkpoints, distiller


def rules_of(task: Task) -> dict[str, str]:
    world = world_of(task)
    return {f"{world.name}/{slot}": world.rule(slot) for slot in world.quirks}


@pytest.fixture
def distiller(practised: tuple[Path, Distiller], tmp_path: Path) -> Distiller:
    return replace(practised[1], home=tmp_path)


def test_one_call_makes_a_candidate_that_is_not_served(
    practised: tuple[Path, Distiller], distiller: Distiller
) -> None:
    checkpoints = [practised[0]]
    adapter = distiller.distil(checkpoints, label="first")
    assert set(adapter.manifest.rule_ids) <= set(distiller.setting.rules)
    assert adapter.manifest.metrics["parity_agreement"] >= 0.98
    assert distiller.registry.active_id is None
    assert distiller.distil(checkpoints, label="first").id == adapter.id

    probes = distiller.probes(adapter, checkpoints)
    assert all(probes.tasks.values())
    name = probes.tasks["with_memory"][0]
    assert probes.score("with_memory", name)[1] == 1.0


def test_rules_that_may_not_be_taught_reach_no_row(
    practised: tuple[Path, Distiller], distiller: Distiller
) -> None:
    poisoned, *kept = distiller.setting.rules
    text = distiller.setting.rules[poisoned].text
    left = {name: distiller.setting.rules[name] for name in kept}
    setting = replace(distiller.setting, rules=left)
    dataset = replace(distiller, setting=setting).plan([practised[0]])
    assert poisoned not in dataset.record_ids()
    assert not any(text in row.teacher_system for row in dataset.rows)
    assert any(text in row.teacher_system for row in distiller.plan([practised[0]]).rows)


def test_without_teachable_rules_there_is_nothing_to_distil(
    practised: tuple[Path, Distiller], distiller: Distiller
) -> None:
    bare = replace(distiller, setting=replace(distiller.setting, rules={}))
    with pytest.raises(AdapterError, match=r"nothing to distil.*no rules in the prompt"):
        bare.distil([practised[0]], label="x")
    assert distiller.registry.ids() == []


def test_evaluation_tasks_reach_no_row(
    practised: tuple[Path, Distiller], distiller: Distiller
) -> None:
    prompts = {row.messages[0]["content"] for row in distiller.plan([practised[0]]).rows}
    leaked = sorted(prompts)[0]
    dataset = distiller.plan([practised[0]], evaluation=Decontaminator([str(leaked)]))
    assert leaked not in {
        row.messages[0]["content"] for row in dataset.rows if row.kind == "target"
    }


CHILD = """
import sys
from pathlib import Path
from agentevo.distillation.distiller import Distiller
from agentevo.distillation.jobs import open_job, run_job
from agentevo.distillation.registry import AdapterRegistry
home = Path(sys.argv[1])
print("ready", flush=True)
run_job(open_job(home / "distillations", "job"), AdapterRegistry(home / "adapters"),
        on_step=lambda step: print(step.step, flush=True))
"""


def test_a_training_killed_at_any_moment_goes_on_and_the_old_adapter_stays_served(
    practised: tuple[Path, Distiller], distiller: Distiller
) -> None:
    from agentevo.distillation.jobs import plan_job, run_job

    old = distiller.distil([practised[0]], label="old")
    distiller.registry.activate(old.id, "it was there")
    train = TrainSettings(steps=12 * KILLS, checkpoint_every=1, mix={"target": 1, "scope": 1})
    job = plan_job(
        distiller.jobs, distiller.base, distiller.plan([practised[0]]), train, label="job"
    )
    reached = []
    for kill in range(KILLS):
        reached.append(train_until_killed(distiller.home, after_s=0.05 + 0.1 * (kill % 7)))
        assert distiller.registry.active_id == old.id
        assert distiller.registry.ids() == [old.id]
        assert open_job(distiller.jobs, "job").status != "finished"
    assert reached == sorted(reached), "no step is lost but those after the last checkpoint"
    finished = run_job(job, distiller.registry)
    undisturbed = plan_job(
        distiller.jobs, distiller.base, distiller.plan([practised[0]]), train, label="undisturbed"
    )
    assert run_job(undisturbed, distiller.registry).id == finished.id
    assert distiller.registry.active_id == old.id


def train_until_killed(home: Path, *, after_s: float) -> int:
    """Train in another process, kill it some time after its first step, return the steps done."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        last = 0
        for line in child.stdout:
            if line.strip() != "ready":
                last = int(line)
                break
        time.sleep(after_s)
        child.send_signal(signal.SIGKILL)
        for line in child.stdout:
            last = int(line)
    return last


def test_a_setting_names_what_is_told() -> None:
    setting = Setting("Operate.", rules={"a": Teachable("In Moki move is zabo")})
    assert setting.system() == "Operate."
    assert "zabo" in setting.system(["a", "unknown"])
