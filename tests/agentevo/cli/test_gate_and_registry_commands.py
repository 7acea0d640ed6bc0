"""The gate, generations and adapters from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.distillation.registry import AdapterRegistry, Manifest, sha256_of
from agentevo.distillation.rows import Row, write_rows
from agentevo.generations import Generation, GenerationLog


def call(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    document = json.loads(result.stdout)
    return document["data"] if result.exit_code == 0 else document["error"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def adapters(home: Path, tmp_path: Path) -> list[str]:
    registry = AdapterRegistry(home / "adapters")
    made = []
    for index, rank in enumerate((4, 8)):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "adapter.gguf").write_bytes(bytes([index]))
        message = {"role": "user", "content": str(index)}
        write_rows(folder / "rows.jsonl", [Row("target", "Moki", "r", "", (message,))])
        manifest = Manifest(
            "base",
            sha256_of(folder / "adapter.gguf"),
            "context",
            rule_ids=("shared", f"r{index}"),
            settings={"rank": rank},
            created=float(index + 1),
        )
        made.append(registry.register(folder, manifest).id)
    return made


def test_the_simulation_reports_false_accepts_below_alpha_and_power_above() -> None:
    rates = call("gate", "simulate", "--candidates", "200")["rates"]
    assert all(rate["accepted"] <= 0.07 for rate in rates if rate["gain"] == 0)
    assert max(rate["accepted"] for rate in rates) > 0.9


def test_adapters_are_listed_compared_and_served(home: Path, adapters: list[str]) -> None:
    first, second = adapters
    listed = call("--home", str(home), "adapters", "list")
    assert [entry["id"] for entry in listed["adapters"]] == adapters
    difference = call("--home", str(home), "adapters", "diff", first, second)
    assert difference["rules"] == {"only_first": ["r0"], "only_second": ["r1"]}
    assert difference["settings"] == {"rank": [4, 8]}
    assert len(difference["rows"]["only_first"]) == 1
    assert call("--home", str(home), "adapters", "activate", first)["id"] == first
    assert call("--home", str(home), "adapters", "activate", second)["id"] == second
    assert call("--home", str(home), "adapters", "rollback")["id"] == first
    assert call("--home", str(home), "adapters", "activate", "base")["id"] is None


def test_an_adapter_is_exported_with_its_rows(
    home: Path, adapters: list[str], tmp_path: Path
) -> None:
    call("--home", str(home), "adapters", "export", adapters[0], str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter.gguf",
        "manifest.json",
        "rows.jsonl",
    }


def test_an_edited_adapter_is_named_and_not_served(home: Path, adapters: list[str]) -> None:
    (home / "adapters" / adapters[0] / "adapter.gguf").write_bytes(b"edited")
    error = call("--home", str(home), "adapters", "activate", adapters[0])
    assert error["type"] == "AdapterError"
    assert "hash mismatch" in error["message"]


def test_generations_are_listed_tagged_and_compared(home: Path) -> None:
    log = GenerationLog(home / "generations.sqlite")
    first, second = Generation("base"), Generation("base", "adapter")
    log.create(first, parent=None)
    log.create(second, parent=first.id)
    log.serve(second.id, reason="gate")
    call("--home", str(home), "generations", "tag", "served", "champion")
    listed = call("--home", str(home), "generations", "list")["generations"]
    assert [(entry["served"], entry["tags"]) for entry in listed] == [
        (False, []),
        (True, ["champion"]),
    ]
    difference = call("--home", str(home), "generations", "diff", first.id, "champion")
    assert difference["differences"] == {"adapter_id": [None, "adapter"]}
    assert call("--home", str(home), "generations", "verify")["intact"]
    assert len(call("--home", str(home), "generations", "show", "champion")["history"]) == 3


@pytest.mark.parametrize("group", ["adapters", "generations"])
def test_an_empty_home_says_what_makes_the_first(home: Path, group: str) -> None:
    result = CliRunner().invoke(app, ["--home", str(home), group, "list"])
    assert result.exit_code == 0
    assert f"no {group} yet" in result.stdout
