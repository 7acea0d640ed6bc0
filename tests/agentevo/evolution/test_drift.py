"""When worlds change, success comes back if rules replace older ones, and does not if they pile up."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings

BENCHMARK = Path(__file__).parents[2] / "benchmarks/bench_drift.py"


@pytest.fixture
def drift() -> Any:
    spec = importlib.util.spec_from_file_location("bench_drift", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_drift"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_success_recovers_after_a_drift_with_forgetting_and_not_without(
    drift: Any, make_settings: Callable[..., Settings], believer: Any, tmp_path: Path
) -> None:
    options = {**drift.WORLDS, "tasks_per_world": 24}
    settings = make_settings(tmp_path / "home", n=14 * 24, options=options)
    chosen = settings.memory.model_copy(update={"k": 24, "notes": 0})
    settings = settings.model_copy(update={"memory": chosen})
    found = drift.measure(settings, believer, tmp_path)
    on, off = found[True], found[False]
    assert on.broken == off.broken == 0
    assert on.before == off.before >= 0.8
    assert on.dip < 0.9 * on.before
    assert on.recovered_after is not None
    assert off.recovered_after is None
    assert off.after < 0.9 * off.before <= on.after
