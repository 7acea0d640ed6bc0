"""Training moves what it should, keeps what it should, resumes exactly and stops on nonsense."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from agentevo.distillation.base_model import BaseModel, load_base
from agentevo.distillation.encoding import encode, encode_rows
from agentevo.distillation.rows import Lineage, Row, RowKind
from agentevo.distillation.settings import METHODS, Method, TrainSettings
from agentevo.distillation.targets import divergence, learnt_log_probs, teacher_targets
from agentevo.distillation.trainer import Progress, train
from agentevo.errors import AdapterError, ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")

SETTINGS = TrainSettings(steps=12, rank=4, learning_rate=1e-2, checkpoint_every=6)


@pytest.fixture
def rows(make_row: Callable[..., Row]) -> list[Row]:
    target = make_row()
    failed = make_row("rejected", word="move", pair=target.id)
    return [target, make_row("replay", task="say hi", word="hi"), make_row("with_rules"), failed]


def test_the_assistants_words_and_its_end_token_are_learnt_and_nothing_else(
    base: BaseModel, make_row: Callable[..., Row]
) -> None:
    encoded = encode(make_row(), "be brief", base.tokenizer)
    assert base.tokenizer.decode(encoded.completion) == "zabo<|im_end|>"


def test_teacher_and_student_are_scored_on_the_same_completion(
    base: BaseModel, rows: list[Row]
) -> None:
    for row in encode_rows(rows, base.tokenizer, max_tokens=400):
        assert row.teacher.completion == row.student.completion


def test_a_row_that_is_too_long_is_named(base: BaseModel, make_row: Callable[..., Row]) -> None:
    row = make_row(task="x" * 500)
    with pytest.raises(AdapterError, match=rf"{row.id} has \d+ tokens; at most 100"):
        encode_rows([row], base.tokenizer, max_tokens=100)


def test_what_must_not_change_is_left_out_where_it_finds_no_end(
    base: BaseModel, make_row: Callable[..., Row]
) -> None:
    rows = [make_row(), make_row("scope", word="zabo " * 200)]
    [encoded] = encode_rows(rows, base.tokenizer, max_tokens=200)
    assert encoded.row.kind == "target"


def test_a_training_takes_ten_steps_for_each_rule_that_is_taught_but_not_few(
    make_row: Callable[..., Row],
) -> None:
    def teaching(count: int, kind: RowKind = "target") -> Row:
        rules = tuple(f"rule {number}" for number in range(count))
        return replace(make_row(kind), lineage=Lineage(rules))

    default = TrainSettings()
    assert default.for_rows([teaching(3)]).steps == 250
    assert default.for_rows([teaching(30), teaching(31)]).steps == 310
    assert default.for_rows([teaching(3), teaching(90, "with_rules")]).steps == 250
    assert TrainSettings(steps=7).for_rows([teaching(90)]).steps == 7


def test_the_divergence_is_zero_against_itself_and_positive_against_others(
    base: BaseModel, rows: list[Row]
) -> None:
    encoded = encode_rows(rows, base.tokenizer, max_tokens=400)
    with torch.no_grad():
        for row, target in zip(encoded, teacher_targets(base.model, encoded), strict=True):
            [same] = learnt_log_probs(base.model, [row.teacher])
            assert divergence(target, same).abs().max() < 1e-5
            other = torch.randn_like(same).log_softmax(-1)
            assert divergence(target, other).min() > 0
            cut = replace(
                target,
                tokens=target.log_probs.topk(8).indices,
                log_probs=target.log_probs.topk(8).values,
            )
            assert (divergence(cut, other) <= divergence(target, other) + 1e-4).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lowers_its_target_loss(
    base: BaseModel, rows: list[Row], method: Method
) -> None:
    settings = replace(SETTINGS, method=method, refresh=100, steps=25)
    history = train(base, rows, settings).history
    assert history[-1].losses["target"] < history[0].losses["target"]


def test_a_small_model_is_trained_by_one_thread_and_the_others_come_back(
    base: BaseModel, rows: list[Row], request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(2)
    seen: list[int] = []
    train(base, rows, SETTINGS, on_step=lambda _: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2


def test_rules_that_change_nothing_are_refused(
    base: BaseModel, make_row: Callable[..., Row]
) -> None:
    same = replace(make_row(), teacher_system="", student_system="")
    with pytest.raises(AdapterError, match="the rules change nothing"):
        train(base, [same], replace(SETTINGS, mix={"target": 1}))


def test_no_verified_experience_is_said_before_any_work(
    base: BaseModel, make_row: Callable[..., Row]
) -> None:
    with pytest.raises(AdapterError, match="nothing to distil"):
        train(base, [make_row("replay")], SETTINGS)


def test_dpo_without_failed_attempts_says_what_to_do(
    base: BaseModel, make_row: Callable[..., Row]
) -> None:
    with pytest.raises(AdapterError, match="failed attempts"):
        train(base, [make_row()], replace(SETTINGS, method="dpo"))


def test_a_loss_that_is_not_finite_stops_the_training(base: BaseModel, rows: list[Row]) -> None:
    with torch.no_grad():
        base.model.get_output_embeddings().weight[0, 0] = float("nan")
    with pytest.raises(AdapterError, match="not finite; nothing was registered"):
        train(base, rows, SETTINGS)


def _weights(
    base_folder: Path, rows: list[Row], checkpoint: Path, stop: int | None
) -> torch.Tensor:
    def on_step(progress: Progress) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt

    trained = train(load_base(base_folder), rows, SETTINGS, checkpoint=checkpoint, on_step=on_step)
    return torch.cat([w.flatten() for w in trained.model.parameters() if w.requires_grad])


def test_an_interrupted_training_resumes_to_the_same_weights(
    base_folder: Path, rows: list[Row], tmp_path: Path
) -> None:
    undisturbed = _weights(base_folder, rows, tmp_path / "a.pt", None)
    with pytest.raises(KeyboardInterrupt):
        _weights(base_folder, rows, tmp_path / "b.pt", 8)
    assert torch.equal(_weights(base_folder, rows, tmp_path / "b.pt", None), undisturbed)


def test_a_checkpoint_of_another_training_is_refused(
    base_folder: Path, rows: list[Row], tmp_path: Path
) -> None:
    _weights(base_folder, rows, tmp_path / "a.pt", None)
    with pytest.raises(AdapterError, match="belongs to another training"):
        _weights(base_folder, rows[:1], tmp_path / "a.pt", None)


def test_a_damaged_checkpoint_is_refused(
    base_folder: Path, rows: list[Row], tmp_path: Path
) -> None:
    (tmp_path / "a.pt").write_bytes(b"junk")
    with pytest.raises(AdapterError, match=r"a\.pt is damaged"):
        _weights(base_folder, rows, tmp_path / "a.pt", None)


@pytest.mark.parametrize("bad", [{"method": "magic"}, {"rank": 0}, {"steps": -1}, {"focus": -1.0}])
def test_a_setting_out_of_range_is_named(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        TrainSettings(**bad)  # type: ignore[arg-type]


def test_a_path_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no base model at"):
        load_base(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"GGUFjunk")
    with pytest.raises(AdapterError, match="not a GGUF model"):
        load_base(tmp_path / "x.gguf")
