from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]
ECHO = ("--env", "echo_world:Echo", "--quiet")


@pytest.fixture
def finished(invoke: Invoke) -> dict[str, Any]:
    """Return the document of a finished run of three tasks."""
    document: dict[str, Any] = invoke("run", *ECHO, "--n", "3", "--seed", "5", "--json").document
    return document


def test_run_prints_what_was_solved(finished: dict[str, Any], folder: Path) -> None:
    data = finished["data"]
    assert (finished["status"], finished["command"]) == ("ok", "run")
    assert (data["solved"], data["total"], data["status"]) == (3, 3, "finished")
    assert [entry["task_id"] for entry in data["episodes"]] == ["t0", "t1", "t2"]
    assert (folder / ".agentevo/runs" / data["run_id"] / "report.json").is_file()


def test_run_prints_a_summary_for_people(invoke: Invoke) -> None:
    outcome = invoke("run", *ECHO, "--n", "3", "--model", "scripted:wrong")
    assert outcome.code == 0
    words = " ".join(outcome.out.split())
    assert "solved 0/3" in words
    assert "success rate 0.0%" in words


def test_a_dry_run_shows_the_plan_and_leaves_nothing(invoke: Invoke, folder: Path) -> None:
    data = invoke("run", *ECHO, "--n", "4", "--dry-run", "--json").document["data"]
    assert (data["dry_run"], data["tasks"], data["task_ids"][0]) == (True, 4, "t0")
    assert not (folder / ".agentevo").exists()
    assert "would run 4 tasks" in invoke("run", *ECHO, "--n", "4", "--dry-run").out


def test_a_run_from_a_run_has_its_settings_and_results(
    finished: dict[str, Any], invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTEVO_ENV__SEED", "99")
    again = invoke("run", "--from", finished["data"]["run_id"], "--quiet", "--json").document[
        "data"
    ]
    assert again["settings"] == finished["data"]["settings"]
    assert again["run_id"] != finished["data"]["run_id"]
    assert [e["score"] for e in again["episodes"]] == [
        e["score"] for e in finished["data"]["episodes"]
    ]


def test_options_go_before_the_settings_of_the_run_they_start_from(
    finished: dict[str, Any], invoke: Invoke
) -> None:
    data = invoke("run", "--from", "last", "--n", "1", "--dry-run", "--json").document["data"]
    assert (data["tasks"], data["settings"]["env"]["seed"]) == (1, 5)
    assert finished["data"]["total"] == 3


def test_progress_goes_to_stderr_line_by_line_without_a_terminal(invoke: Invoke) -> None:
    outcome = invoke("run", "--env", "echo_world:Echo", "--json")
    assert outcome.document["data"]["solved"] == 10
    lines = outcome.err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("10/10 solved 100%")


def test_resuming_a_finished_run_returns_its_report(
    finished: dict[str, Any], invoke: Invoke
) -> None:
    outcome = invoke("resume", "last", "--json")
    assert outcome.code == 0
    assert outcome.document["data"]["episodes"] == finished["data"]["episodes"]


def test_a_run_whose_every_episode_breaks_has_failed(invoke: Invoke, folder: Path) -> None:
    source = (folder / "echo_world.py").read_text()
    (folder / "dead_world.py").write_text(source.replace("given = action.arguments", "1 / 0"))
    outcome = invoke("run", "--env", "dead_world:Echo", "--n", "2", "--quiet", "--json")
    assert outcome.code == 1
    assert outcome.document["data"]["failed"] == 2
    assert "2 x environment failure: ZeroDivisionError" in outcome.err


def test_runs_are_listed_newest_first(finished: dict[str, Any], invoke: Invoke) -> None:
    second = invoke("run", *ECHO, "--n", "1", "--json").document["data"]["run_id"]
    runs = invoke("runs", "list", "--json").document["data"]["runs"]
    assert {run["id"] for run in runs} == {finished["data"]["id"], second}
    assert runs[0]["started_at"] >= runs[1]["started_at"]
    assert second in invoke("runs", "list").out


def test_without_runs_the_list_says_how_to_start_one(invoke: Invoke) -> None:
    assert "agentevo run" in invoke("runs", "list").out
    assert invoke("runs", "list", "--json").document["data"] == {"runs": []}
    outcome = invoke("runs", "show", "last")
    assert outcome.code == 2
    assert "there is no run" in outcome.err


def test_a_run_is_shown_with_its_episodes(finished: dict[str, Any], invoke: Invoke) -> None:
    data = invoke("runs", "show", finished["data"]["id"], "--json").document["data"]
    assert data["episodes"] == finished["data"]["episodes"]
    assert invoke("runs", "show", "last", "--unsolved", "--json").document["data"]["episodes"] == []
    assert "t2" in invoke("runs", "show", "last").out


def test_an_episode_is_shown_step_by_step(finished: dict[str, Any], invoke: Invoke) -> None:
    outcome = invoke("runs", "show", "last", "--episode", "t1")
    assert "-> say word6" in outcome.out
    assert "= You said word6" in outcome.out
    data = invoke("runs", "show", "last", "--episode", "t1", "--json").document["data"]
    types = [event["type"] for event in data["events"]]
    assert types[0] == "agentevo.episode_started"
    assert "agentevo.executed" in types
    assert data["id"] == f"{finished['data']['id']}:t1"


def test_an_unknown_episode_is_answered_with_the_nearest(
    finished: dict[str, Any], invoke: Invoke
) -> None:
    outcome = invoke("runs", "show", finished["data"]["id"], "--episode", "t22")
    assert outcome.code == 2
    assert "'t2'" in outcome.err
