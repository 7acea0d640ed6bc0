"""Training: continues bit for bit, refuses what it cannot continue, and learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from agentevo.seed_model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from agentevo.seed_model.evaluation import evaluate, load_model
from agentevo.seed_model.export import export
from agentevo.seed_model.measures import MEASURES
from agentevo.seed_model.provenance import surroundings
from agentevo.seed_model.settings import Report, TrainingSettings
from agentevo.seed_model.trainer import Training, resumed, train

TINY = TrainingSettings(tokens=4000, layers=2, batch_tokens=500, report_s=1e9)


def quiet(report: Report) -> None:
    pass


def test_a_resumed_training_is_bit_for_bit_the_uninterrupted_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = Training(TINY)
    for _ in range(5):
        whole.advance()
    half = Training(TINY)
    for _ in range(2):
        half.advance()
    save_checkpoint(tmp_path / "x", half.state())
    again = resumed(TINY, tmp_path / "x")
    for _ in range(3):
        again.advance()
    assert again.departures == []
    assert again.stages == []
    assert again.tokens == whole.tokens
    assert all(torch.equal(again.weights[name], whole.weights[name]) for name in whole.weights)
    assert all(torch.equal(again.average[name], whole.average[name]) for name in whole.weights)


def test_a_larger_budget_is_a_further_stage_and_said_not_to_be_exact(tmp_path: Path) -> None:
    train(TINY, tmp_path / "x", on_report=quiet)
    reports: list[Report] = []
    longer = replace(TINY, tokens=6000)
    train(longer, tmp_path / "x", on_report=reports.append, resume=True)
    assert reports[-1].departures == ("tokens was 4000 and is 6000",)
    assert reports[-1].tokens >= 6000
    stages = export(tmp_path / "x", tmp_path / "x.gguf")["stages"]
    assert [stage["settings"]["tokens"] for stage in stages] == [4000, 6000]
    assert 4000 <= stages[0]["until_tokens"] < stages[1]["until_tokens"]


def test_the_card_names_the_command_of_the_last_stage(tmp_path: Path) -> None:
    settings = replace(TINY, rate=0.002, plateau=0.0)
    save_checkpoint(tmp_path / "x", Training(settings).state())
    command = export(tmp_path / "x", tmp_path / "x.gguf")["command"]
    options = "--tokens 4000 --rate 0.002 --plateau 0 --seed 0 --device cpu"
    assert command == f"agentevo seed-model train {options}"
    save_checkpoint(tmp_path / "x", resumed(TINY, tmp_path / "x").state())
    command = export(tmp_path / "x", tmp_path / "x.gguf")["command"]
    assert command == "agentevo seed-model train --tokens 4000 --seed 0 --device cpu --resume"


def test_a_budget_in_minutes_is_said_not_to_be_exact(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", Training(TINY).state())
    found = resumed(replace(TINY, tokens=0, minutes=1.0), tmp_path / "x").departures
    assert any("follows the clock" in reason for reason in found)


def test_a_checkpoint_of_another_generator_continues_on_a_new_stream_and_says_so(
    tmp_path: Path,
) -> None:
    training = Training(TINY)
    training.advance()
    state = training.state() | {"made_with": {**surroundings(), "episodes": "other"}}
    save_checkpoint(tmp_path / "x", state)
    again = resumed(TINY, tmp_path / "x")
    assert again.departures == [f"episodes was 'other' and is {surroundings()['episodes']!r}"]
    assert again.stream.state() != training.stream.state()
    again.advance()
    assert again.step == 2


def test_training_stops_at_its_budget_and_can_be_exported(tmp_path: Path) -> None:
    reports: list[Report] = []
    train(TINY, tmp_path / "x", on_report=reports.append)
    assert reports[-1].progress >= 1
    assert {"rule", "default", "reflect"} <= set(reports[-1].held_out)
    card = export(tmp_path / "x", tmp_path / "x.gguf")
    assert (tmp_path / "x.gguf").stat().st_size > 100_000
    assert card["tokens"] >= 4000


def test_the_exported_weights_are_the_average_over_recent_steps(tmp_path: Path) -> None:
    training = Training(TINY)
    name = "blk.1.ffn_down.weight"
    seen = [training.weights[name].detach().clone()]
    for _ in range(3):
        training.advance()
        seen.append(training.weights[name].detach().clone())
    low, high = torch.stack(seen).amin(0) - 1e-6, torch.stack(seen).amax(0) + 1e-6
    average = training.average[name]
    assert ((low <= average) & (average <= high)).all()
    assert not torch.equal(average, seen[-1])
    save_checkpoint(tmp_path / "x", training.state())
    export(tmp_path / "x", tmp_path / "x.gguf", precision="f32")
    written = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "x.gguf").tensors}
    assert np.allclose(written[name], average.numpy())


def test_the_learning_rate_warms_up_and_reaches_zero() -> None:
    training = Training(TINY)
    assert training.rate_factor() < 0.05
    training.step, training.tokens = 1000, TINY.tokens
    assert training.rate_factor() == 0


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "other"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x"
    save_checkpoint(path, Training(TINY).state())
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"garbage")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        torch.save({"format": 99}, path)
    with pytest.raises(CheckpointError, match=r"--resume|format 2"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", Training(TINY).state())
    with pytest.raises(CheckpointError, match="resume with the settings"):
        resumed(TrainingSettings(tokens=10, layers=3), tmp_path / "x")


@pytest.mark.parametrize("budget", [{}, {"minutes": 1.0, "tokens": 5}])
def test_exactly_one_budget_is_needed(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        TrainingSettings(**budget)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_minute_of_training_learns_to_copy_and_gives_a_model_that_plays(tmp_path: Path) -> None:
    reports: list[Report] = []
    settings = TrainingSettings(tokens=220_000, report_s=1e9)
    train(settings, tmp_path / "x", on_report=reports.append)
    assert reports[-1].loss < 0.7 * reports[0].loss
    assert reports[-1].held_out["reflect"] > 0.3
    export(tmp_path / "x", tmp_path / "x.gguf")
    model, _ = load_model(tmp_path / "x.gguf")
    measured = evaluate(model, count=2, measures=MEASURES[:1])
    assert [row.trials > 0 for row in measured.rows] == [True, True]
    assert measured.output_tokens > 0
