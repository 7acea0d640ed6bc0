"""A run does every task once, whatever breaks on the way, and goes on where it stopped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agentevo.errors import RunError, RunInUseError
from agentevo.events import Event
from agentevo.models import init_model
from agentevo.recall import Outcome, Recalled
from agentevo.runs.checkpoints import open_checkpoints
from agentevo.runs.directory import RunDirectory
from agentevo.runs.drain import Drain
from agentevo.runs.event_log import read_events
from agentevo.runs.run import RunPlan, carry_out
from agentevo.runs.worker import World
from agentevo_environments import Environment, Observation, Task
from agentevo_environments.errors import SandboxDiedError, SandboxUnavailableError

MakePlan = Callable[..., RunPlan]


def stop_after(count: int, kind: str, drain: Drain) -> Callable[[Event], None]:
    seen = 0

    def listen(event: Event) -> None:
        nonlocal seen
        seen += event["type"] == f"agentevo.{kind}"
        if seen == count:
            drain.request("test")

    return listen


def test_a_run_solves_every_task_once_and_writes_its_files(
    directory: RunDirectory, make_plan: MakePlan
) -> None:
    report = carry_out(directory, make_plan())
    assert (report.status, report.solved, report.total) == ("finished", 10, 10)
    assert [episode.task_id for episode in report.episodes] == [f"t{i}" for i in range(10)]
    assert directory.read_report() == report
    files = {path.name for path in directory.path.iterdir()}
    assert {"config.toml", "events.jsonl", "checkpoints.sqlite", "report.json"} <= files
    finished = [e for e in read_events(directory.events) if e["type"].endswith("episode_finished")]
    assert sorted(e["data"]["task_id"] for e in finished) == [f"t{i}" for i in range(10)]


def test_a_wrong_model_solves_nothing(directory: RunDirectory, make_plan: MakePlan) -> None:
    report = carry_out(directory, make_plan(model=init_model("scripted:wrong")))
    assert (report.solved, len(report.episodes)) == (0, 10)


def test_a_drained_run_is_resumable_and_no_episode_is_done_twice(
    directory: RunDirectory, make_plan: MakePlan
) -> None:
    drain = Drain()
    first = carry_out(
        directory, make_plan(), on_event=stop_after(4, "episode_finished", drain), drain=drain
    )
    assert first.status == "stopped"
    assert 4 <= len(first.episodes) < 10
    second = carry_out(directory, make_plan())
    assert (second.status, second.solved, len(second.episodes)) == ("finished", 10, 10)
    ids = [
        event["episode_id"]
        for event in read_events(directory.events)
        if event["type"] == "agentevo.episode_finished"
    ]
    assert len(ids) == len(set(ids)) == 10


def test_an_unfinished_episode_continues_instead_of_starting_again(
    directory: RunDirectory, make_plan: MakePlan, tasks: list[Task]
) -> None:
    drain = Drain()
    plan = make_plan(tasks=tasks[:1])
    carry_out(directory, plan, on_event=stop_after(2, "executed", drain), drain=drain)
    report = carry_out(directory, plan)
    assert report.solved == 1
    kinds = [event["type"] for event in read_events(directory.events)]
    assert kinds.count("agentevo.episode_started") == 1
    assert kinds.count("agentevo.executed") == 3


def test_an_environment_without_snapshots_starts_the_episode_again(
    directory: RunDirectory, make_plan: MakePlan, tasks: list[Task], counter: Any
) -> None:
    class Forgetful(type(counter)):  # type: ignore[misc]
        snapshot = Environment.snapshot
        restore = Environment.restore

        def reset(self, task: Task) -> Observation:
            self.sum, self.target = 0, int(str(task.data["target"]))
            return Observation("")

    drain = Drain()
    plan = make_plan(tasks=tasks[:1], make_world=lambda: World(Forgetful()))
    carry_out(directory, plan, on_event=stop_after(2, "executed", drain), drain=drain)
    report = carry_out(directory, plan)
    assert (report.solved, report.episodes[0].actions) == (1, 3)


def test_a_graded_episode_whose_outcome_was_lost_is_not_acted_again(
    directory: RunDirectory, make_plan: MakePlan
) -> None:
    carry_out(directory, make_plan())
    before = sum(1 for e in read_events(directory.events) if e["type"] == "agentevo.executed")
    with open_checkpoints(directory.checkpoints) as saver, saver.cursor() as cursor:
        cursor.execute("DELETE FROM outcomes")
    report = carry_out(directory, make_plan())
    after = sum(1 for e in read_events(directory.events) if e["type"] == "agentevo.executed")
    assert (report.solved, after) == (10, before)


def test_outcomes_whose_event_was_lost_are_told_again(
    directory: RunDirectory, make_plan: MakePlan
) -> None:
    carry_out(directory, make_plan())
    lines = directory.events.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b"episode_finished" not in line]
    directory.events.write_bytes(b"".join(kept))
    carry_out(directory, make_plan())
    kinds = [event["type"] for event in read_events(directory.events)]
    assert kinds.count("agentevo.episode_finished") == 10


def test_a_dead_sandbox_is_replaced_once(
    directory: RunDirectory, make_plan: MakePlan, tasks: list[Task], counter: Any
) -> None:
    worlds: list[Any] = []

    def make_world() -> World:
        worlds.append(type(counter)())
        worlds[-1].fail_with = SandboxDiedError("gone") if len(worlds) == 1 else None
        return World(worlds[-1])

    report = carry_out(directory, make_plan(tasks=tasks[:3], make_world=make_world))
    assert report.solved == 3
    assert sum(episode.attempts == 2 for episode in report.episodes) == 1


def test_a_sandbox_that_keeps_dying_is_a_recorded_outcome(
    directory: RunDirectory, make_plan: MakePlan, tasks: list[Task], counter: Any
) -> None:
    def make_world() -> World:
        world = type(counter)()
        world.fail_with = SandboxDiedError("gone")
        return World(world)

    report = carry_out(directory, make_plan(tasks=tasks[:3], make_world=make_world))
    assert report.status == "finished"
    assert {(e.failure.type, e.attempts) for e in report.episodes if e.failure} == {("sandbox", 2)}
    assert report.failed == 3


def test_a_sandbox_that_cannot_start_ends_the_run_and_leaves_it_resumable(
    directory: RunDirectory, make_plan: MakePlan, counter: Any
) -> None:
    def make_world() -> World:
        world = type(counter)()
        world.fail_with = SandboxUnavailableError("install bubblewrap")
        return World(world)

    with pytest.raises(SandboxUnavailableError, match="bubblewrap"):
        carry_out(directory, make_plan(make_world=make_world))
    assert carry_out(directory, make_plan()).solved == 10


def test_a_model_error_is_an_outcome_and_the_others_go_on(
    directory: RunDirectory, make_plan: MakePlan, tmp_path: Path
) -> None:
    answers = [{"tool_calls": [{"name": "add", "args": {"amount": 3}}]}]
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"t3": [{"error": "quota"}], "*": answers}))
    report = carry_out(directory, make_plan(model=init_model(f"scripted:{script}")))
    failures = {e.task_id: e.failure.message for e in report.episodes if e.failure}
    assert report.solved == 9
    assert failures == {"t3": "ModelError: quota"}


def test_two_processes_cannot_work_on_one_run(directory: RunDirectory, make_plan: MakePlan) -> None:
    import os

    with directory.lock():
        assert directory.is_running()
        with pytest.raises(RunInUseError, match=f"process {os.getpid()}"):
            carry_out(directory, make_plan())
    assert not directory.is_running()
    assert carry_out(directory, make_plan()).solved == 10


def test_changed_tasks_are_noticed(
    directory: RunDirectory, make_plan: MakePlan, tasks: list[Task]
) -> None:
    carry_out(directory, make_plan())
    with pytest.raises(RunError, match="have changed since it began"):
        carry_out(directory, make_plan(tasks=tasks[:-1]))


class Notebook:
    """A memory that counts what it is told per episode."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        return [Recalled("r1", "rule", "Add.", 1.0, trusted=True)]

    def observe(self, outcome: Outcome) -> None:
        self.seen.append(outcome.episode_id)


def test_memory_observes_every_episode(directory: RunDirectory, make_plan: MakePlan) -> None:
    notebook = Notebook()
    report = carry_out(directory, make_plan(memory=notebook))
    assert sorted(notebook.seen) == sorted(episode.episode_id for episode in report.episodes)
    assert {episode.recalled for episode in report.episodes} == {("r1",)}
