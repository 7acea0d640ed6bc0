"""A training can be followed in TensorBoard or trackio; a missing package is named."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from agentevo.distillation.tracking import track
from agentevo.distillation.trainer import Progress
from agentevo.errors import ConfigError

STEP = Progress(1, 10, {"target": 2.0, "scope": 0.5}, 0.1)


def test_an_unknown_tracker_lists_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown tracker 'mlflow'; trackers: tensorboard"):
        track("mlflow", tmp_path, "run").__enter__()


@pytest.mark.skipif(find_spec("trackio") is not None, reason="the package is there")
def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip install trackio"):
        track("trackio", tmp_path, "run").__enter__()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs tensorboard")
def test_every_step_reaches_tensorboard(tmp_path: Path) -> None:
    with track("tensorboard", tmp_path, "job") as on_step:
        on_step(STEP)
    [written] = (tmp_path / "job").iterdir()
    assert b"loss/target" in written.read_bytes()
