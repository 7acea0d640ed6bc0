"""Settings become a run, or an error that says what to correct, before anything was started."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.errors import ConfigError, RunError, UnknownModelError
from agentevo.runs.checkpoints import open_checkpoints
from agentevo.runs.directory import create_run
from agentevo.runs.event_log import read_events
from agentevo.runtime import list_runs, load_report, resume, run, sandbox_of, tasks_of
from agentevo_environments.errors import EnvironmentsError


def settings(home: Path, **sections: Any) -> Settings:
    return Settings.model_validate({"home": home, **sections})


def task_file(path: Path, *ids: str) -> Path:
    entries = [
        {
            "task_id": each,
            "prompt": "def one():\n",
            "entry_point": "one",
            "canonical_solution": "    return 1\n",
            "test": "def check(candidate):\n    assert candidate() == 1\n",
        }
        for each in ids
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"env": {"name": "cod"}}, EnvironmentsError, "unknown environment 'cod'"),
        ({"env": {"tasks": "/nope.jsonl"}}, EnvironmentsError, r"/nope\.jsonl"),
        ({"env": {"split": "dev"}}, EnvironmentsError, "no split 'dev'"),
        ({"model": {"spec": "oracle"}}, UnknownModelError, "did you mean 'scripted:oracle'"),
        ({"sandbox": {"backend": "dokcer"}}, EnvironmentsError, "unknown sandbox 'dokcer'"),
    ],
)
def test_wrong_settings_leave_no_run_behind(
    tmp_path: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(settings(tmp_path, **sections))
    assert list_runs(tmp_path) == []


def test_two_tasks_of_one_id_are_refused(tmp_path: Path) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a", "b", "a")
    with pytest.raises((RunError, EnvironmentsError), match="'a'"):
        tasks_of(settings(tmp_path, env={"tasks": tasks}))


def test_unknown_sandbox_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="refuses its options"):
        sandbox_of(settings(tmp_path, sandbox={"options": {"tyre": 1}}))


def test_a_run_that_died_before_its_first_task_is_listed_and_resumable(tmp_path: Path) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a", "b")
    directory = create_run(settings(tmp_path, env={"tasks": tasks}))
    (report,) = list_runs(tmp_path)
    assert (report.id, report.status, report.total) == (directory.id, "interrupted", 0)
    assert [(e.detail, e.failure) for e in resume(tmp_path, directory.id).episodes] == [
        ("1 of 1 hidden assertions hold", None)
    ] * 2


def test_a_lost_report_is_made_again_from_the_ledger(tmp_path: Path) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a", "b")
    first = run(settings(tmp_path, env={"tasks": tasks}))
    directory = tmp_path / "runs" / first.id
    (directory / "report.json").unlink()
    assert load_report(tmp_path, first.id).status == "interrupted"
    again = resume(tmp_path, first.id)
    assert (again.status, again.episodes) == ("finished", first.episodes)


@pytest.mark.parametrize("also_to_do", [False, True])
def test_an_episode_that_was_over_before_a_kill_is_resumed_without_its_sandbox(
    tmp_path: Path, also_to_do: bool
) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a", "b")
    first = run(settings(tmp_path, env={"tasks": tasks}, run={"concurrency": 1}))
    directory = tmp_path / "runs" / first.id
    (directory / "report.json").unlink()
    with open_checkpoints(directory / "checkpoints.sqlite") as saver:
        with saver.cursor() as cursor:
            cursor.execute("DELETE FROM outcomes")
            cursor.execute("DELETE FROM facts WHERE name = 'containment'")
        if also_to_do:
            saver.delete_thread(f"{first.id}:b")
    again = resume(tmp_path, first.id)
    assert (again.status, again.solved, again.failed) == ("finished", 2, 0)
    kinds = [event["type"] for event in read_events(directory / "events.jsonl")]
    assert kinds.count("agentevo.graded") == 2 + also_to_do
    assert (again.containment is not None) == also_to_do


def test_a_changed_task_file_is_noticed_on_resume(tmp_path: Path) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a", "b")
    first = run(settings(tmp_path, env={"tasks": tasks}))
    (tmp_path / "runs" / first.id / "report.json").unlink()
    task_file(tasks, "a", "c")
    with pytest.raises(RunError, match=f"agentevo run --from {first.id}"):
        resume(tmp_path, first.id)


def test_hidden_tests_stay_out_of_the_conversation(tmp_path: Path) -> None:
    tasks = task_file(tmp_path / "tasks.jsonl", "a")
    report = run(settings(tmp_path, env={"tasks": tasks}))
    events = (tmp_path / "runs" / report.id / "events.jsonl").read_text()
    assert "assert candidate()" not in events
    with open_checkpoints(tmp_path / "runs" / report.id / "checkpoints.sqlite") as saver:
        values = saver.get({"configurable": {"thread_id": report.episodes[0].episode_id}})
    assert values is not None
