import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentevo.config import Settings

Invoke = Callable[..., Any]


def test_config_show_says_where_each_setting_comes_from(invoke: Invoke, folder: Path) -> None:
    (folder / "agentevo.toml").write_text("[env]\nn = 2\nseed = 5\n")
    outcome = invoke("config", "show", "--set", "env.n=3", "--home", "elsewhere", "--json")
    data = outcome.document["data"]
    assert data["settings"]["env"]["n"] == 3
    assert data["settings"]["home"] == str(folder / "elsewhere")
    origins = data["origins"]
    assert origins["env.n"] == "--set"
    assert origins["env.seed"] == "agentevo.toml"
    assert origins["home"] == "command line"
    assert origins["model.spec"] == "default"


def test_config_show_prints_a_file_that_can_be_used(invoke: Invoke) -> None:
    data = invoke("config", "show", "--set", "env.n=3", "--json").document["data"]
    assert Settings(**tomllib.loads(data["toml"])).env.n == 3


def test_config_show_is_a_table_for_people(invoke: Invoke) -> None:
    outcome = invoke("config", "show")
    assert outcome.code == 0
    assert any(line.split() == ["env.name", "code", "default"] for line in outcome.out.splitlines())


def test_config_schema_is_a_json_schema(invoke: Invoke) -> None:
    data = invoke("config", "schema", "--json").document["data"]
    assert data == Settings.model_json_schema()
    assert "run.concurrency" in invoke("config", "schema").out


def test_home_may_stand_anywhere_and_comes_before_the_environment(
    invoke: Invoke, folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("AGENTEVO_HOME", "from-environment")

    def home(*args: str) -> str:
        return str(invoke(*args, "--json").document["data"]["settings"]["home"])

    assert home("config", "show") == str(folder / "from-environment")
    assert home("config", "--home=x", "show") == str(folder / "x")
    assert home("--home", "x", "config", "show") == str(folder / "x")
    assert home("config", "show", "--home", "x") == str(folder / "x")


def test_a_bad_setting_is_wrong_input_with_a_next_step(invoke: Invoke) -> None:
    outcome = invoke("config", "show", "--set", "env.naem=x")
    assert outcome.code == 2
    assert "did you mean 'env.name'" in outcome.err
    assert "next: agentevo config show" in outcome.err
    assert outcome.out == ""
