"""Recipes are checked when they are read, and say what they need."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.errors import ConfigError
from agentevo.recipes import (
    Recipe,
    check_ports,
    dump_recipe,
    load_recipe,
    needs_of,
    parse_recipe,
    shipped_recipes,
)

SHIPPED = (
    "default", "demo", "distil", "expel", "memory_only", "memorybank", "reflexion", "rest_em", "self_refine", "star",
    "stateless",
)  # fmt: skip


def call(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["recipes", *arguments, "--json"])
    document = json.loads(result.stdout)
    return result.exit_code, document.get("data", document.get("error"))


def test_recipes_are_shipped_and_survive_writing_and_reading() -> None:
    assert tuple(shipped_recipes()) == SHIPPED
    for recipe in shipped_recipes().values():
        assert parse_recipe(tomllib.loads(dump_recipe(recipe))) == recipe
        assert recipe.description


def test_all_but_the_control_learn() -> None:
    assert [name for name, recipe in shipped_recipes().items() if not recipe.learns] == [
        "stateless"
    ]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tasks": {"strategy": "magic"}}, r"'magic' for 'tasks.strategy'.*'pool'.*'rewrite'"),
        ({"solutions": {"strategies": ["tree"]}}, r"'tree' .*'chain_of_thought'"),
        ({"in_context": {"forget": [{"policy": "all"}]}}, r"'all' .*'decay'.*'contradiction'"),
        ({"in_context": {"forget": [{"police": "lru"}]}}, r"'in_context.forget.0.police'.*below"),
        ({"sleep": 3}, r"unknown key 'sleep'; allowed beside it: name, .*in_weight"),
        ({"tasks": {"n": 0}}, r"'tasks.n' cannot be 0"),
        ({"rounds": float("nan")}, r"'rounds' cannot be nan"),
        ({"solutions": {"strategies": []}}, r"'solutions.strategies' cannot be"),
        ({"evaluation": {"gate_share": 0.7, "exam_share": 0.3}}, r"leave none to learn from"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_exists(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_recipe({"name": "mine", **values})


def test_a_recipe_without_a_name_is_told_that_it_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"'name' is missing"):
        parse_recipe({"rounds": 2})


def test_an_unknown_name_lists_the_recipes_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'reflexion'\? there are: default"):
        load_recipe("reflexio")


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for content in ("name =", "nothing = 1"):
        path.write_text(content)
        with pytest.raises(ConfigError, match=r"mine\.toml"):
            load_recipe(str(path))
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(str(tmp_path / "none.toml"))


def test_a_missing_port_is_named_with_the_choice_that_needs_it() -> None:
    with pytest.raises(ConfigError, match=r"'chat'.*in_context.lessons = true; given: sandbox"):
        check_ports(load_recipe("reflexion"), ["sandbox"])
    weights = Recipe.model_validate({"name": "w", "in_weight": {"when": "rounds"}})
    with pytest.raises(ConfigError, match="'distiller'"):
        check_ports(weights, ["chat", "sandbox"])
    check_ports(weights, ["distiller"])
    run = parse_recipe({"name": "r", "feedback": {"sources": ["execution", "judge"]}})
    assert set(needs_of(run)) == {"chat", "sandbox"}


def test_recipes_are_listed_shown_and_validated_from_the_command_line(tmp_path: Path) -> None:
    code, data = call("list")
    assert (code, [entry["id"] for entry in data["recipes"]]) == (0, list(SHIPPED))
    code, data = call("show", "star")
    assert (code, data["solutions"]["strategies"]) == (0, ["hint"])
    code, data = call("validate", "expel")
    assert (code, list(data["needs"])) == (0, ["chat"])
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[tasks]\nstrategy = "magic"\n')
    code, error = call("validate", str(path))
    assert (code, "magic" in error["message"]) == (2, True)


def test_what_is_shown_is_a_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CliRunner().invoke(app, ["recipes", "show", "memorybank"]).stdout)
    assert load_recipe(str(path)) == load_recipe("memorybank")
