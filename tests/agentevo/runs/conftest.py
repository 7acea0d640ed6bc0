"""A run over the counter world, in a temporary home."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.models import init_model
from agentevo.runs.directory import RunDirectory, create_run
from agentevo.runs.run import RunPlan
from agentevo.runs.worker import World
from agentevo_environments import Task


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"home": tmp_path / "home", "run": {"concurrency": 2}})


@pytest.fixture
def directory(settings: Settings) -> RunDirectory:
    return create_run(settings)


@pytest.fixture
def tasks(counter: Any) -> list[Task]:
    """Ten tasks of three actions each."""
    return [dataclasses.replace(task, data={"target": 3}) for task in counter.tasks(n=10)]


@pytest.fixture
def make_plan(settings: Settings, tasks: list[Task], counter: Any) -> Callable[..., RunPlan]:
    def make(**changes: Any) -> RunPlan:
        plan = RunPlan(
            settings=settings,
            tasks=tasks,
            model=init_model("scripted:oracle"),
            make_world=lambda: World(type(counter)()),
        )
        return dataclasses.replace(plan, **changes)

    return make
