"""Training the seed model from scratch: curriculum, optimisers, schedule, checkpoints."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agentevo.seed_model.batches import Batch, Stream, encode, group
from agentevo.seed_model.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    vocabulary_of,
)
from agentevo.seed_model.episodes import LEVELS, draw_episode
from agentevo.seed_model.muon import Muon
from agentevo.seed_model.network import Shape, initial_weights, rotations, run
from agentevo.seed_model.tokenizer import Vocabulary, vocabulary
from agentevo.seed_model.transcript import LOSS_WEIGHTS, Role

if TYPE_CHECKING:
    from torch import Tensor

WARM_UP_STEPS = 60
SHAPED = ("blk.0.attn", "blk.1.attn")
SHAPED_SHARE = 0.2
HELD_OUT_SEED = 10_000_000
HELD_OUT_EPISODES = 48


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train.

    Attributes:
        minutes: Wall-clock budget; the learning rate reaches 0 at its end. 0: use `tokens`.
        tokens: Token budget; a run under it resumes bit-exactly. 0: use `minutes`.
        seed: Of the initial weights and of the stream.
        layers: Blocks of the network.
        batch_tokens: Tokens per step, padding included.
        rate: Peak learning rate of Muon.
        embedding_rate: Peak learning rate of AdamW on embeddings and norms.
        plateau: Share of the budget before the linear decay begins.
        longest: Longest episode, in tokens.
        device: "cpu" or "cuda".
        report_s: Seconds between reports with held-out accuracies and a checkpoint.
    """

    minutes: float = 0.0
    tokens: int = 0
    seed: int = 0
    layers: int = 4
    batch_tokens: int = 2304
    rate: float = 1e-3
    embedding_rate: float = 1e-3
    plateau: float = 0.3
    longest: int = 640
    device: str = "cpu"
    report_s: float = 180.0

    def __post_init__(self) -> None:
        """Refuse a missing or double budget.

        Raises:
            ValueError: Not exactly one of `minutes` and `tokens` is above 0.
        """
        if (self.minutes > 0) == (self.tokens > 0):
            raise ValueError(
                f"the budget is {self.minutes!r} minutes and {self.tokens!r} tokens; "
                "give exactly one of them, above 0"
            )


@dataclass(slots=True)
class Report:
    """Where a training stands.

    Attributes:
        progress: Share of the budget that is spent.
        step: Optimiser steps so far.
        tokens: Tokens so far.
        elapsed_s: Seconds of training so far, over all resumptions.
        level: Curriculum level.
        loss: Mean weighted loss since the last report.
        running: Accuracy by role over recent batches.
        held_out: Accuracy by role at the hardest level on reserved names; empty between checks.
    """

    progress: float
    step: int
    tokens: int
    elapsed_s: float
    level: int
    loss: float
    running: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)


class Training:
    """One training run; `train` runs it to the end of its budget."""

    def __init__(self, settings: TrainingSettings, vocab: Vocabulary | None = None):
        import torch

        self.settings = settings
        self.vocabulary = vocab or vocabulary()
        self.shape = Shape(len(self.vocabulary.tokens), layers=settings.layers)
        self.weights = {
            name: tensor.to(settings.device).requires_grad_()
            for name, tensor in initial_weights(self.shape, settings.seed).items()
        }
        self.turn = rotations(self.shape)
        self.stream = Stream(
            settings.seed,
            batch_tokens=settings.batch_tokens,
            longest=settings.longest,
            vocabulary=self.vocabulary,
        )
        hidden = [n for n, w in self.weights.items() if w.dim() == 2 and n != "token_embd.weight"]
        self.muon = Muon([(self.weights[name], _share(name)) for name in hidden])
        self.rest = [weight for name, weight in self.weights.items() if name not in hidden]
        self.adam = torch.optim.AdamW(self.rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
        self.step = self.tokens = self.level_step = 0
        self.elapsed_s = 0.0
        self.running: dict[int, list[float]] = {}

    def progress(self) -> float:
        """Return the share of the budget that is spent."""
        if self.settings.tokens:
            return self.tokens / self.settings.tokens
        return self.elapsed_s / (60 * self.settings.minutes)

    def rate_factor(self) -> float:
        """Return the learning rate as a share of its peak."""
        left = 1 - min(1.0, self.progress())
        return min(1.0, (self.step + 1) / WARM_UP_STEPS) * min(
            1.0, left / (1 - self.settings.plateau)
        )

    def advance(self) -> float:
        """Do one step and return its loss."""
        import torch

        batch = next(self.stream)
        loss, correct = self.loss(batch)
        loss.backward()
        factor = self.rate_factor()
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        self.muon.step(self.settings.rate * factor)
        for parameters in self.adam.param_groups:
            parameters["lr"] = self.settings.embedding_rate * factor
        self.adam.step()
        for weight in self.weights.values():
            weight.grad = None
        self.step += 1
        self.tokens += batch.tokens
        self._track(correct)
        return float(loss.detach())

    def loss(self, batch: Batch) -> "tuple[Tensor, dict[int, tuple[int, int]]]":
        """Return the weighted loss and (right, all) by role."""
        import torch
        from torch.nn import functional

        device = self.settings.device
        ids, roles = batch.ids.to(device), batch.roles.to(device)
        said = roles[:, 1:] > Role.CONTEXT
        with torch.autocast(device, torch.bfloat16):
            hidden = run(self.weights, self.shape, ids[:, :-1], self._turn())[said]
            logits = functional.linear(hidden, self.weights["token_embd.weight"])
        wanted, kinds = ids[:, 1:][said], roles[:, 1:][said]
        losses = functional.cross_entropy(logits.float(), wanted, reduction="none")
        weight = torch.tensor([LOSS_WEIGHTS[role] for role in Role], device=device)[kinds]
        right = logits.argmax(-1) == wanted
        totals = torch.bincount(kinds, minlength=len(Role)).tolist()
        hits = torch.bincount(kinds[right], minlength=len(Role)).tolist()
        counts = {role: (hits[role], totals[role]) for role in range(len(Role)) if totals[role]}
        return (losses * weight).sum() / weight.sum(), counts

    def _turn(self) -> "tuple[Tensor, Tensor]":
        cos, sin = self.turn
        return cos.to(self.settings.device), sin.to(self.settings.device)

    def _track(self, correct: dict[int, tuple[int, int]]) -> None:
        """Update running accuracies and the curriculum."""
        for role, (hits, total) in correct.items():
            kept = self.running.setdefault(role, [0.0, 0.0])
            kept[0] = kept[0] * 0.97 + hits
            kept[1] = kept[1] * 0.97 + total
        ready = self.accuracy(Role.RULE) > 0.8 and self.accuracy(Role.DEFAULT) > 0.7
        first = self.stream.level == 0 and self.accuracy(Role.RULE) > 0.8
        if (
            (ready or first)
            and self.step - self.level_step > 40
            and self.stream.level < len(LEVELS) - 1
        ):
            self.stream.level += 1
            self.level_step = self.step
            self.running.clear()

    def accuracy(self, role: int) -> float:
        """Return the running accuracy of a role, 0 when it has not occurred."""
        hits, total = self.running.get(role, (0.0, 0.0))
        return hits / total if total else 0.0

    def held_out(self, level: int = len(LEVELS) - 1) -> dict[str, float]:
        """Return accuracies by role on fixed episodes with reserved names."""
        import torch

        random = Random(HELD_OUT_SEED)
        episodes = [
            encode(draw_episode(random, level, reserved=True), self.vocabulary)
            for _ in range(HELD_OUT_EPISODES)
        ]
        hits: dict[int, int] = {}
        totals: dict[int, int] = {}
        with torch.no_grad():
            for batch in group(episodes, self.settings.batch_tokens):
                for role, (right, total) in self.loss(batch)[1].items():
                    hits[role] = hits.get(role, 0) + right
                    totals[role] = totals.get(role, 0) + total
        return {Role(role).name.lower(): hits[role] / totals[role] for role in sorted(totals)}

    def report(self, loss: float, *, check: bool) -> Report:
        """Return where the training stands, with held-out accuracies if `check`."""
        running = {Role(role).name.lower(): self.accuracy(role) for role in sorted(self.running)}
        return Report(
            self.progress(), self.step, self.tokens, self.elapsed_s, self.stream.level, loss, running,
            self.held_out() if check else {},
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return everything that a resumption needs."""
        return {
            "settings": asdict(self.settings),
            "shape": asdict(self.shape),
            "tokens": list(self.vocabulary.tokens),
            "merges": [list(pair) for pair in self.vocabulary.merges],
            "weights": {name: weight.detach().cpu() for name, weight in self.weights.items()},
            "muon": self.muon.state(),
            "adam": self.adam.state_dict(),
            "stream": self.stream.state(),
            "counters": [self.step, self.tokens, self.level_step],
            "elapsed_s": self.elapsed_s,
            "running": self.running,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            CheckpointError: It is of another network or another optimiser.
        """
        import torch

        if state["shape"] != asdict(self.shape):
            raise CheckpointError(
                f"the checkpoint's network is {state['shape']!r}, the settings ask for "
                f"{asdict(self.shape)!r}: resume with the settings it was started with"
            )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self.muon.load(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.stream.load(state["stream"])
        self.step, self.tokens, self.level_step = state["counters"]
        self.elapsed_s, self.running = state["elapsed_s"], state["running"]


def resumed(settings: TrainingSettings, checkpoint: Path) -> Training:
    """Return the training of a checkpoint, with the vocabulary it was started with.

    With a token budget, the same seed and the same machine, what follows is bit for bit what an
    uninterrupted training does. With a budget in minutes it is not: the learning rate follows the
    clock.

    Raises:
        CheckpointError: The checkpoint is damaged, missing, or does not fit the settings.
    """
    state = load_checkpoint(checkpoint)
    training = Training(settings, vocabulary_of(state))
    training.load(state)
    return training


def _share(name: str) -> float:
    """Return a matrix's share of the learning rate: small where the initial values are the point."""
    return SHAPED_SHARE if name.startswith(SHAPED) else 1.0


def train(
    settings: TrainingSettings,
    checkpoint: Path,
    *,
    on_report: Callable[[Report], None],
    resume: bool = False,
) -> Training:
    """Train until the budget is spent, saving to `checkpoint` at every report.

    Args:
        settings: How to train.
        checkpoint: File to write, and to continue from with `resume`.
        on_report: Called about every 50 steps and at every checkpoint.
        resume: Continue from `checkpoint`.

    Raises:
        CheckpointError: The checkpoint is damaged or of another shape.
    """
    import torch

    if settings.device == "cpu":
        torch.set_num_threads(1)
    training = resumed(settings, checkpoint) if resume else Training(settings)
    begun, before = time.monotonic(), training.elapsed_s
    checked, losses = begun, []
    while training.progress() < 1:
        losses.append(training.advance())
        training.elapsed_s = before + time.monotonic() - begun
        over = training.progress() >= 1
        check = over or time.monotonic() - checked > settings.report_s
        if check or training.step % 50 == 0:
            on_report(training.report(sum(losses) / len(losses), check=check))
            losses = []
        if check:
            save_checkpoint(checkpoint, training.state())
            checked = time.monotonic()
    return training
