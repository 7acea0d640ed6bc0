"""Train one LoRA adapter: a plain loop over steps, resumable, stopping on a broken loss.

Every step draws rows of every kind of the mix, so that what must not change is trained beside what
must. The loop knows nothing of files but its own checkpoint.
"""

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevo.distillation.base_model import LORA_TARGETS, BaseModel
from agentevo.distillation.checkpoint import Checkpoint
from agentevo.distillation.draws import Draws
from agentevo.distillation.encoding import EncodedRow, encode_rows
from agentevo.distillation.objectives import (
    distil_context,
    imitate,
    pair_rows,
    prefer,
    reference_likelihoods,
)
from agentevo.distillation.rows import Row, RowKind
from agentevo.distillation.sampling import sample_completions
from agentevo.distillation.settings import LARGE_MODEL, TrainSettings
from agentevo.distillation.targets import Target, teacher_targets
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor


DECISIVE_NATS = 1e-3


@dataclass(frozen=True, slots=True)
class Progress:
    """One finished step.

    Attributes:
        step: Steps done so far, from 1.
        steps: Steps in all.
        losses: Mean loss of each row kind in this step, in nats a row.
        seconds: Wall-clock seconds of this step.
    """

    step: int
    steps: int
    losses: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained adapter, still in memory.

    Attributes:
        model: The PEFT model, adapter on.
        settings: What it was trained with, learning rate and steps filled in.
        history: Every step.
    """

    model: "PeftModel"
    settings: TrainSettings
    history: tuple[Progress, ...]


@dataclass(slots=True)
class _Data:
    """Encoded rows and the frozen base's answers on them."""

    rows: dict[RowKind, list[int]]
    encoded: list[EncodedRow]
    targets: list[Target] = field(default_factory=list)
    pairs: list[tuple[EncodedRow, EncodedRow]] = field(default_factory=list)
    references: list[tuple[float, float]] = field(default_factory=list)


def train(
    base: BaseModel,
    rows: Sequence[Row],
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train an adapter on rows.

    Args:
        base: The frozen base; its modules are wrapped in place.
        rows: What to learn and what to keep.
        settings: All numbers.
        checkpoint: File to continue from and to write to; None for neither.
        on_step: Called after every step.

    Raises:
        AdapterError: No target rows, a loss that is not finite, gradients that are all zero, or a
            checkpoint of another training.
    """
    import torch

    settings = settings.for_model(base.parameters).for_rows(rows)
    half = settings.half_precision(base.parameters, base.device.type)
    threads = settings.threads(base.parameters, base.device.type)
    with _threads(threads), torch.autocast(base.device.type, torch.bfloat16, enabled=half):
        return _train(base, rows, settings, checkpoint, on_step)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch compute with so many threads; None changes nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    base: BaseModel,
    rows: Sequence[Row],
    settings: TrainSettings,
    checkpoint: Path | None,
    on_step: Callable[[Progress], None] | None,
) -> Trained:
    import torch

    torch.manual_seed(settings.seed)
    encoded = encode_rows(rows, base.tokenizer, max_tokens=settings.max_tokens)
    data = _prepare(base, encoded, settings)
    model = _attach(base, settings)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1.0, weight_decay=0.0)
    saved = Checkpoint(checkpoint, _identity(base, rows, settings))
    entries, latest = saved.load(model, optimiser)
    history = [Progress(**entry) for entry in entries]
    draws = Draws(data.rows, latest)
    steps = settings.steps or 0
    for step in range(len(history), steps):
        started = time.perf_counter()
        if settings.method == "on_policy" and step % settings.refresh == 0:
            _resample(base, model, data, settings, step)
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(settings, step)
        losses = _step(model, data, draws, settings, step)
        _apply(losses, weights, optimiser, settings, step)
        means = {kind: float(loss.detach()) for kind, loss in losses.items()}
        history.append(Progress(step + 1, steps, means, time.perf_counter() - started))
        if on_step:
            on_step(history[-1])
        if (step + 1) % settings.checkpoint_every == 0:
            saved.save(model, optimiser, [asdict(entry) for entry in history], draws.latest)
    return Trained(model, settings, tuple(history))


def _prepare(base: BaseModel, encoded: list[EncodedRow], settings: TrainSettings) -> _Data:
    kinds: dict[RowKind, list[int]] = {}
    for index, row in enumerate(encoded):
        kinds.setdefault(row.row.kind, []).append(index)
    if not kinds.get("target"):
        raise AdapterError(
            "there is nothing to distil: no verified experience with rules. Run tasks with memory "
            "first, then look at `agentevo distill plan`"
        )
    data = _Data(kinds, encoded)
    if settings.method == "dpo":
        data.pairs = pair_rows(encoded)
        data.references = reference_likelihoods(base.model, data.pairs)
    if settings.method != "sft":
        data.targets = teacher_targets(base.model, encoded)
    if settings.method in ("context", "on_policy"):
        _check_signal(data)
    return data


def _check_signal(data: _Data) -> None:
    """Refuse target rows on which the rules change nothing that the teacher says."""
    decisive = max(float(data.targets[index].focus.max()) for index in data.rows["target"])
    if decisive < DECISIVE_NATS:
        raise AdapterError(
            "the rules change nothing: the base answers the same with and without them "
            f"(at most {decisive:.1e} nats apart), so the gradient would be zero"
        )


def _attach(base: BaseModel, settings: TrainSettings) -> "PeftModel":
    from peft import LoraConfig, get_peft_model

    if base.parameters >= LARGE_MODEL:
        base.model.gradient_checkpointing_enable()
        base.model.enable_input_require_grads()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=list(LORA_TARGETS),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base.model, config)


def _learning_rate(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then linear decay to zero."""
    warm = min(1.0, (step + 1) / (settings.warmup + 1))
    return (settings.learning_rate or 0.0) * warm * (1 - step / (settings.steps or 1))


def _step(
    model: "PeftModel", data: _Data, draws: Draws, settings: TrainSettings, step: int
) -> dict[str, "Tensor"]:
    """Return the mean loss of each kind of row drawn for this step."""
    import torch

    order = random.Random(f"{settings.seed}:{step}")
    losses: dict[str, Tensor] = {}
    for kind, count in settings.mix.items():
        drawn = draws.draw(kind, count, order)
        if not drawn:
            continue
        if kind == "target" and settings.method == "dpo":
            drawn = [order.randrange(len(data.pairs)) for _ in range(count)]
            pairs = [data.pairs[index] for index in drawn]
            references = [data.references[index] for index in drawn]
            terms = prefer(model, pairs, references, settings.beta)
        else:
            batch = [data.encoded[index] for index in drawn]
            if settings.method == "sft":
                terms = imitate(model, batch)
            else:
                targets = [data.targets[index] for index in drawn]
                terms = distil_context(model, batch, targets, settings.focus)
            draws.learn(drawn, torch.stack(terms).tolist())
        losses[kind] = torch.stack(terms).mean()
    return losses


def _apply(
    losses: dict[str, "Tensor"],
    weights: list["Tensor"],
    optimiser: Any,
    settings: TrainSettings,
    step: int,
) -> None:
    import torch

    total = torch.stack(list(losses.values())).sum()
    if not math.isfinite(float(total.detach())):
        raise AdapterError(
            f"the loss of step {step + 1} is not finite; nothing was registered. "
            "Lower learning_rate or look at the rows with `agentevo distill plan`"
        )
    optimiser.zero_grad()
    torch.autograd.backward(total)
    norm = float(torch.nn.utils.clip_grad_norm_(weights, settings.clip))
    if step == 0 and norm == 0.0:
        raise AdapterError("every gradient is zero, so nothing can be learnt from these rows")
    optimiser.step()


def _resample(
    base: BaseModel, model: "PeftModel", data: _Data, settings: TrainSettings, step: int
) -> None:
    """Replace the target rows by the student's own answers and score them with the teacher."""
    indices = data.rows["target"]
    rows = [data.encoded[index].row for index in indices]
    sampled = sample_completions(base, model, rows, seed=settings.seed * 100_003 + step)
    fresh = encode_rows(sampled, base.tokenizer, max_tokens=settings.max_tokens)
    with model.disable_adapter():
        targets = teacher_targets(model, fresh)
    for index, row, target in zip(indices, fresh, targets, strict=True):
        data.encoded[index], data.targets[index] = row, target


def _identity(base: BaseModel, rows: Sequence[Row], settings: TrainSettings) -> str:
    content = [base.sha256, [row.id for row in rows], asdict(settings)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
