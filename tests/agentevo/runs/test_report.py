"""Reports add up, survive JSON, and state their uncertainty."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.runs.report import EpisodeResult, Failure, RunReport, wilson_interval

results = st.builds(
    EpisodeResult,
    episode_id=st.text(),
    task_id=st.text(),
    solved=st.booleans(),
    score=st.floats(0, 1),
    failure=st.none() | st.builds(Failure, st.sampled_from(["model", "budget"]), st.text()),
    seconds=st.floats(0, 1e3),
    recalled=st.lists(st.text(), max_size=2).map(tuple),
)
reports = st.builds(
    RunReport,
    id=st.text(),
    status=st.sampled_from(["finished", "stopped"]),
    environment=st.text(),
    model=st.text(),
    total=st.integers(0, 9),
    episodes=st.lists(results, max_size=4).map(tuple),
)


@given(reports)
def test_a_report_reads_back_from_json(report: RunReport) -> None:
    assert RunReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_holds_the_rate(solved: int, unsolved: int) -> None:
    low, high = wilson_interval(solved, solved + unsolved)
    assert 0.0 <= low <= high <= 1.0
    if solved + unsolved:
        rate = solved / (solved + unsolved)
        assert low - 1e-9 <= rate <= high + 1e-9


def test_the_interval_has_the_published_value() -> None:
    low, high = wilson_interval(8, 10)
    assert math.isclose(low, 0.4901, abs_tol=1e-4)
    assert math.isclose(high, 0.9433, abs_tol=1e-4)


def test_the_time_of_a_graph_step_is_split() -> None:
    episode = EpisodeResult(
        "e", "t", True, 1.0, seconds=0.010, model_s=0.002, environment_s=0.004, graph_steps=4
    )
    split = RunReport("r", "finished", "code", "m", 1, (episode,)).time_split()
    assert split == pytest.approx({"model_ms": 0.5, "environment_ms": 1.0, "overhead_ms": 1.0})
