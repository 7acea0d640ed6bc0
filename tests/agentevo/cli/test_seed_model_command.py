"""`agentevo seed-model`: training, measuring and describing the small model."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.seed_model.checkpoint import save_checkpoint
from agentevo.seed_model.settings import TrainingSettings
from agentevo.seed_model.trainer import Training


def call(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["seed-model", *arguments, "--json"])
    document = json.loads(result.stdout)
    return result.exit_code, document["data"] if result.exit_code == 0 else document["error"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "seed.checkpoint"
    save_checkpoint(path, Training(TrainingSettings(tokens=100, layers=2)).state())
    return path


def test_an_export_carries_its_card(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "seed.gguf"
    measured = tmp_path / "measured.json"
    row = {"name": "x", "goal": "", "hits": 1, "trials": 2, "share": 0.5, "low": 0.1, "high": 0.9}
    measured.write_text(json.dumps({"data": {"rows": [{**row, "met": None}]}}))
    code, made = call("export", str(checkpoint), str(out), "--measured", str(measured))
    assert (code, made["card"]["measured"]["rows"][0]["hits"]) == (0, 1)
    code, card = call("card", "--file", str(out))
    assert (code, card) == (0, made["card"])
    assert "not a capable assistant" in card["summary"]
    shown = CliRunner().invoke(app, ["seed-model", "card", "--file", str(out)])
    assert "1/2 = 0.500" in shown.stdout


def test_a_model_is_measured_and_every_row_has_its_interval(
    checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "seed.gguf"
    call("export", str(checkpoint), str(out))
    code, data = call("eval", "--file", str(out), "--count", "1")
    assert code == 0
    assert "valid tool calls" in {row["name"] for row in data["rows"]}
    assert all(0 <= row["low"] <= row["high"] <= 1 for row in data["rows"])


def test_a_missing_checkpoint_is_said_with_the_next_step(tmp_path: Path) -> None:
    code, error = call("export", str(tmp_path / "no"), str(tmp_path / "x.gguf"))
    assert code != 0
    assert "there is no checkpoint" in error["message"]


def test_training_without_a_budget_is_refused(tmp_path: Path) -> None:
    code, error = call("train", "--out", str(tmp_path / "x.gguf"))
    assert code == 2
    assert "exactly one" in error["message"]


def test_a_short_training_writes_a_model(tmp_path: Path) -> None:
    code, data = call("train", "--out", str(tmp_path / "x.gguf"), "--tokens", "2000")
    assert code == 0
    assert Path(data["path"]).stat().st_size > 1_000_000
    assert data["tokens"] >= 2000


def test_the_shipped_model_is_found_or_its_absence_said() -> None:
    code, found = call("path")
    assert found["path"].endswith(".gguf") if code == 0 else "seed-model train" in found["message"]
