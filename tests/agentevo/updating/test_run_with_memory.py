"""A whole run with the memory switched on, by the settings a user writes."""

from pathlib import Path
from typing import Any

import pytest

from agentevo import runtime
from agentevo.config import Settings
from agentevo_memory import Draft, VectorMemory


@pytest.mark.slow
def test_a_run_recalls_reports_and_credits_what_it_recalled(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path,
            "env": {"name": "quirks", "n": 2},
            "model": {"spec": "scripted:oracle"},
            "memory": {"enabled": True},
        }
    )
    with VectorMemory(tmp_path / "memory") as memory:
        rule = memory.insert(
            Draft(text="In Besa, prepare the book or the ball first", kind="rule")
        ).id
    events: list[Any] = []
    report = runtime.run(settings, on_event=events.append)
    assert [episode.solved for episode in report.episodes] == [True, True]
    assert {rule in episode.recalled for episode in report.episodes} == {True}
    started = [event for event in events if event["type"] == "agentevo.episode_started"]
    recalled = [each for event in started for each in event["data"]["recalled"]]
    assert {each["id"] for each in recalled} >= {rule}
    assert all(each["score"] > 0 for each in recalled if each["id"] == rule)
    with VectorMemory(tmp_path / "memory") as memory:
        assert (memory.get(rule).helped, memory.get(rule).harmed) == (2, 0)
        kinds = [record.kind for record in memory.records()]
        assert kinds.count("experience") == 2
