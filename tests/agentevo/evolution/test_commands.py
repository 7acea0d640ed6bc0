"""Evolving and reporting from the command line."""

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agentevo.cli import app
from agentevo.evaluation.comparison import Arm, compare
from agentevo.evolution.page import render_page
from agentevo.evolution.report import EvolutionReport


def call(home: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["--home", str(home), *arguments])


def example() -> EvolutionReport:
    arms = (Arm("stateless", {"a": False, "b": True}), Arm("memory", {"a": True, "b": False}))
    return EvolutionReport(
        id="x",
        status="finished",
        autonomy="low",
        decisions={"recipe": "user", "objective": "user"},
        environment="e",
        model="m",
        seed=0,
        recipe={"name": "default"},
        objective={"ability": "e"},
        tasks={"exam": 2},
        rules=("never write <script>alert(1)</script>",),
        arms=arms,
        comparisons=(compare(arms[1], arms[0]).to_json(),),
        notes=("a & b",),
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Sequence[Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attrs))


def test_the_page_needs_nothing_else_and_runs_nothing_that_was_learnt() -> None:
    page = render_page(example())
    tags = Tags()
    tags.feed(page)
    names = [tag for tag, _ in tags.seen]
    assert {"script", "link", "img"} & set(names) == set()
    assert not any(name in ("src", "href") for _, attrs in tags.seen for name, _ in attrs)
    assert "&lt;script&gt;" in page
    assert names.count("rect") == 2
    assert "0.00" in page


def test_a_report_survives_json() -> None:
    assert EvolutionReport.from_json(json.loads(json.dumps(example().to_json()))) == example()


@pytest.mark.slow
def test_evolving_from_the_command_line_ends_in_a_table_and_a_page(tmp_path: Path) -> None:
    home, page = tmp_path / "home", tmp_path / "page.html"
    options = ["--env", "fast_quirks:FastQuirks", "--model", "scripted:wrong", "--n", "24"]
    done = call(home, "evolve", *options, "--rounds", "1", "--recipe", "default")
    assert done.exit_code == 0, done.output
    assert "round 1 of 1: quirks" in done.stderr
    assert "best_of_n" in done.stdout
    shown = call(home, "report", "last", "--html", str(page), "--json")
    data = json.loads(shown.stdout)["data"]
    assert [arm["name"] for arm in data["arms"]] == ["stateless", "history", "best_of_n", "memory"]
    assert data["autonomy"] == "high"
    assert page.read_text().startswith("<!doctype html>")
    again = call(home, "evolve", "--resume", "last", "--json", "--quiet")
    assert json.loads(again.stdout)["data"]["id"] == data["id"]


@pytest.mark.slow
def test_a_generation_is_served_again_from_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    options = ["--env", "fast_quirks:FastQuirks", "--model", "scripted:wrong", "--n", "24"]
    done = call(home, "evolve", *options, "--recipe", "stateless", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    before = json.loads(done.stdout)["data"]["generations"]["before"]
    call(home, "generations", "tag", before, "origin")
    back = call(home, "generations", "rollback", "origin", "--json")
    assert json.loads(back.stdout)["data"]["id"] == before
    again = call(home, "generations", "rollback", "nowhere")
    assert (again.exit_code, "names 0 generations" in again.stderr) == (2, True)
    other = call(home, "generations", "rollback", "origin", "--model", "scripted:oracle")
    assert (other.exit_code, "was replaced" in other.stderr) == (1, True)
    assert call(home, "generations", "diff", "origin", "served").exit_code == 0


def test_bad_input_ends_with_code_2_and_the_way_out(tmp_path: Path) -> None:
    done = call(tmp_path, "evolve", "--env", "fast_quirks:FastQuirks", "--recipe", "magic")
    assert (done.exit_code, "there are: default" in done.stderr) == (2, True)
    done = call(tmp_path, "report", "last")
    assert (done.exit_code, "agentevo evolve" in done.stderr) == (1, True)
