"""`agentevo distill` on a real run of the seed model: planned, trained, resumed, reported, served."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.seed_model.measures import world_of
from agentevo_environments.packs.quirks.difficulty import Difficulty
from agentevo_environments.packs.quirks.tasks import make_tasks

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

TASKS = 12
QUIRKS = ["--env", "quirks", "--model", "seed", "--n", str(TASKS), "--set", "memory.enabled=true"]
ONE_WORLD = [f"--set=env.options.{name}={n}" for name, n in (("tasks_per_world", TASKS),)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one run of tasks whose rules were told."""
    home = tmp_path_factory.mktemp("home")
    [task, *_] = make_tasks(Difficulty(tasks_per_world=TASKS), "test", TASKS, 0)
    world = world_of(task)
    for slot in world.quirks:
        told = ["--kind", "rule", "--scope", world.name, "--environment", "quirks"]
        call(home, "memory", "insert", world.rule(slot), *told)
    call(home, "run", *QUIRKS, *ONE_WORLD)
    return home


def call(home: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["--home", str(home), *arguments, "--json"])
    document = json.loads(result.stdout)
    return document["data"] if result.exit_code == 0 else document["error"]


def told(home: Path, *arguments: str) -> str:
    return CliRunner().invoke(app, ["--home", str(home), *arguments]).stdout


def test_a_plan_tells_rows_reasons_tokens_and_time_and_trains_nothing(home: Path) -> None:
    plan = call(home, "distill", "plan", "--run", "last")
    assert plan["rows"]["target"] >= 1
    assert plan["rows"]["scope"] == 4 * plan["rows"]["replay"]
    assert len(plan["rules"]) >= 1
    assert plan["tokens"] > plan["tokens_a_step"] > 0
    assert plan["expected_s"] > 0
    assert call(home, "distill", "status")["distillations"] == []


def test_the_rows_of_a_plan_are_exported_as_chats_with_tools(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    plan = call(home, "distill", "plan", "--run", "last", "--export", str(path))
    chats = [json.loads(line) for line in path.read_text().splitlines()]
    assert Counter(chat["kind"] for chat in chats) == plan["rows"]
    assert {tuple(message["role"] for message in chat["messages"][:3]) for chat in chats} == {
        ("system", "user", "assistant")
    }
    target = next(chat for chat in chats if chat["kind"] == "target")
    assert target["tools"][0]["function"]["name"] == "run"
    assert target["lineage"]["verified"]
    rules = [line for line in target["teacher_system"].splitlines() if line.startswith("- In ")]
    assert rules
    assert not any(rule in target["messages"][0]["content"] for rule in rules)
    refused = call(home, "distill", "plan", "--run", "last", "--export", str(tmp_path))
    assert str(tmp_path) in refused["message"]


def test_a_run_gives_a_registered_adapter_that_can_be_served_and_taken_back(home: Path) -> None:
    made = call(home, "distill", "run", "--run", "last", "--steps", "3")
    [job] = call(home, "distill", "status")["distillations"]
    assert (job["status"], job["adapter_id"]) == ("finished", made["adapter_id"])
    assert call(home, "adapters", "list")["active"] is None

    served = call(home, "adapters", "activate", made["adapter_id"])
    assert served["id"] == made["adapter_id"]
    assert served["tokens_saved"] > 0
    assert len(served["into_weights"]) == job["rules"]
    again = call(home, "adapters", "rollback")
    assert again["id"] is None
    assert set(again["into_prompt"]) == set(served["into_weights"])


def test_a_report_shows_and_draws_losses_and_probes(home: Path, tmp_path: Path) -> None:
    call(home, "distill", "run", "--run", "last", "--steps", "2", "--no-replay")
    picture = tmp_path / "report.png"
    asked = ["--held-out", "last", "--picture", str(picture)]
    report = call(home, "distill", "report", "last", *asked)
    assert report["probes"]["columns"]["with_memory"]["base"] == 1.0
    assert sum(scope["n"] for scope in report["probes"]["scopes"].values()) >= 1
    assert [step["step"] for step in report["history"]] == [1, 2]
    assert list(report["history"][0]["losses"]) == ["target"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "last loss of target" in told(home, "distill", "report", "last")


def test_a_killed_distillation_is_resumed(home: Path) -> None:
    from agentevo.distillation.jobs import list_jobs

    call(home, "distill", "run", "--run", "last", "--steps", "2", "--no-replay")
    [*_, newest] = list_jobs(home / "distillations")
    (home / "distillations" / newest / "report.json").unlink()
    assert call(home, "distill", "status")["distillations"][-1]["status"] == "planned"
    assert call(home, "distill", "resume", newest)["adapter_id"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--run", "last", "--method", "magic"], "unknown method 'magic'"),
        (["run", "--run", "nowhere"], "nowhere"),
        (["resume", "nowhere"], "'nowhere' names 0 distillations"),
        (["plan", "--run", "last", "--base", "/nowhere.gguf"], "/nowhere.gguf"),
    ],
)
def test_bad_input_is_refused_with_a_reason(home: Path, arguments: list[str], says: str) -> None:
    assert says in call(home, "distill", *arguments)["message"]


def test_a_revoked_rule_names_the_adapters_that_hold_it(home: Path) -> None:
    made = call(home, "distill", "run", "--run", "last", "--steps", "2", "--no-replay")
    rule = call(home, "adapters", "show", made["adapter_id"])["rule_ids"][0]
    revoked = call(home, "memory", "revoke", "--record", rule, "--dry-run")
    holders = {holder["adapter_id"] for holder in revoked["holders"]}
    assert made["adapter_id"] in holders
    assert "distil again" in told(home, "memory", "revoke", "--record", rule, "--dry-run")
