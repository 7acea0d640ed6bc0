"""`agentevo demo` in one small world: the whole way, from the first failure to the rollback."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.demo import demo_settings
from agentevo.generations import GenerationLog
from agentevo.runtime import tasks_of
from agentevo_environments.packs.quirks.difficulty import SEEDS
from agentevo_memory import VectorMemory

SMALL = """
name = "small_demo"
rounds = 2
[tasks]
strategy = "split"
n = 12
[in_weight]
when = "rounds"
every = 2
steps = 40
[evaluation]
gate_share = 0.3
exam_share = 0.3
most_attempts = 2
"""
FILES = {
    "config.toml", "plan.json", "events.jsonl", "checkpoints.sqlite", "runs", "report.json",
    "report.html", "curve.png",
}  # fmt: skip


def agentevo(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "agentevo", "--home", str(home), *arguments, "--json"]


def small_demo(folder: Path) -> list[str]:
    """Return the command of a demo in one world, at home in a folder."""
    recipe = folder / "small.toml"
    recipe.write_text(SMALL)
    size = ["--worlds", "1", "--tasks-per-world", "60", "--recipe", str(recipe)]
    return agentevo(folder / "home", "demo", *size)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(small_demo(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0].startswith("step round 1 of 2: quirks, practised 0/12 ")
    assert all(line.startswith("step ") for line in done.stderr.splitlines()), done.stderr
    data = json.loads(done.stdout)["data"]
    assert Path(data["home"]).is_relative_to(folder / "home" / "demos")
    return Path(data["home"]), data


def test_demo_tasks_are_in_worlds_that_no_training_has_seen(tmp_path: Path) -> None:
    tasks = tasks_of(demo_settings(tmp_path, seed=3, worlds=2, tasks_per_world=8))
    seeds = {int(task.id.split("/")[2]) for task in tasks}
    assert len(tasks) == 16
    assert seeds <= set(SEEDS["demo"])
    assert not seeds & set(SEEDS["train"])


@pytest.mark.slow
def test_the_seed_model_learns_what_it_failed_at(demo: tuple[Path, Any]) -> None:
    home, data = demo
    arms = {arm["name"]: arm for arm in data["arms"]}
    assert arms["stateless"]["rate"] <= 0.1
    assert arms["memory"]["rate"] >= 0.6
    against = {c["control"]: c for c in data["comparisons"] if c["arm"] == "memory"}
    assert all(against[name]["p_value"] < 0.05 for name in ("stateless", "history", "best_of_n"))
    with VectorMemory(home / "memory") as memory:
        rules = {record.text for record in memory.records() if record.kind == "rule"}
    assert set(data["rules"]) <= rules
    assert data["rules"]


@pytest.mark.slow
def test_an_adapter_was_made_and_judged(demo: tuple[Path, Any]) -> None:
    _, data = demo
    (judged,) = data["weights"]
    assert judged["adapter"]
    assert judged["decision"] in ("accepted", "refused")
    criteria = judged["criteria"].values()  # the gate stops at the first that is not shown
    assert criteria
    assert all(seen["shown"] for seen in criteria) is (judged["decision"] == "accepted")


@pytest.mark.slow
def test_rolling_back_and_forward_is_exact(demo: tuple[Path, Any]) -> None:
    home, data = demo
    restoring = data["restoring"]
    assert restoring["exact"]
    log = GenerationLog(home / "generations.sqlite")
    log.verify()
    assert log.served_id == restoring["generations"][1] == data["generations"]["served"]


@pytest.mark.slow
def test_the_run_directory_is_complete(demo: tuple[Path, Any]) -> None:
    home, data = demo
    folder = Path(data["folder"])
    assert {path.name for path in folder.iterdir()} >= FILES
    assert Path(data["picture"]).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path(data["page"]).read_text()
    shown = CliRunner().invoke(app, ["--home", str(home), "report", "last", "--json"])
    assert json.loads(shown.stdout)["data"]["id"] == data["id"]


@pytest.mark.slow
def test_a_demo_killed_while_it_trains_comes_to_the_same_end(
    demo: tuple[Path, Any], tmp_path: Path
) -> None:
    _, undisturbed = demo
    with subprocess.Popen(small_demo(tmp_path), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not is_training(tmp_path):
            time.sleep(0.05)
        process.kill()
    assert is_training(tmp_path)
    (home,) = (tmp_path / "home/demos").iterdir()
    resumed = agentevo(home, "evolve", "--resume", "last", "--quiet")
    done = subprocess.run(resumed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["rounds"] == undisturbed["rounds"]
    assert data["weights"] == undisturbed["weights"]


def is_training(folder: Path) -> bool:
    """Return whether the demo's distillation has begun its steps."""
    events = (folder / "home/demos").glob("*/evolutions/*/events.jsonl")
    return any('"agentevo.distilling"' in path.read_text() for path in events)
