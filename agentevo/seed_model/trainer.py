"""Training the seed model from scratch: curriculum, optimisers, schedule, checkpoints."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agentevo.seed_model.accuracies import Accuracies
from agentevo.seed_model.batches import Batch, Stream, encode, group
from agentevo.seed_model.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    vocabulary_of,
)
from agentevo.seed_model.curriculum import HARDEST
from agentevo.seed_model.episodes import draw_episode
from agentevo.seed_model.muon import Muon
from agentevo.seed_model.network import initial_weights, rotations, run
from agentevo.seed_model.provenance import departures, stage_of, surroundings
from agentevo.seed_model.settings import Report, TrainingSettings
from agentevo.seed_model.shape import Shape
from agentevo.seed_model.tokenizer import Vocabulary, vocabulary
from agentevo.seed_model.transcript import LOSS_WEIGHTS, Role

if TYPE_CHECKING:
    from torch import Tensor

WARM_UP_STEPS = 60
AVERAGED = 0.995
"""Share of the running average of the weights that a late step keeps."""
RULES_LEARNT = 0.8
DEFAULTS_LEARNT = 0.7
LEVEL_STEPS = 40
SHAPED = ("blk.0.attn", "blk.1.attn")
SHAPED_SHARE = 0.4
HELD_OUT_SEED = 10_000_000
HELD_OUT_EPISODES = 48


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
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.turn = rotations(self.shape)
        self.stream = Stream(
            settings.seed,
            batch_tokens=settings.batch_tokens,
            longest=settings.longest,
            vocabulary=self.vocabulary,
        )
        hidden = [n for n in self.weights if n.startswith("blk.") and not n.endswith("norm.weight")]
        self.muon = Muon([(self.weights[name], _share(name)) for name in hidden])
        self.rest = [weight for name, weight in self.weights.items() if name not in hidden]
        self.adam = torch.optim.AdamW(self.rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
        self.step = self.tokens = self.level_step = 0
        self.elapsed_s = 0.0
        self.accuracies = Accuracies()
        self.stages: list[dict[str, Any]] = []
        self.departures: list[str] = []

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
        loss.backward()  # type: ignore[no-untyped-call]
        factor = self.rate_factor()
        torch.nn.utils.clip_grad_norm_(self.rest, 1.0)
        self.muon.step(self.settings.rate * factor)
        for parameters in self.adam.param_groups:
            parameters["lr"] = self.settings.embedding_rate * factor
        self.adam.step()
        for weight in self.weights.values():
            weight.grad = None
        self.step += 1
        self._blend()
        self.tokens += batch.tokens
        self.accuracies.add(correct)
        self._promote()
        return float(loss.detach())

    def _blend(self) -> None:
        """Move the average, which is what is exported, towards the weights; early ones fade soon."""
        import torch

        kept = min(AVERAGED, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.average[name].lerp_(weight, 1 - kept)

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

    def _promote(self) -> None:
        """Go on to the next level of the curriculum when this one is learnt."""
        learnt = self.accuracies.of(Role.RULE) > RULES_LEARNT
        learnt &= self.stream.level == 0 or self.accuracies.of(Role.DEFAULT) > DEFAULTS_LEARNT
        settled = self.step - self.level_step > LEVEL_STEPS
        if learnt and settled and self.stream.level < HARDEST:
            self.stream.level += 1
            self.level_step = self.step
            self.accuracies.clear()

    def held_out(self, level: int = HARDEST) -> dict[str, float]:
        """Return accuracies by role on fixed episodes with reserved names."""
        import torch

        random = Random(HELD_OUT_SEED)
        episodes = [
            encode(draw_episode(random, level, reserved=True), self.vocabulary)
            for _ in range(HELD_OUT_EPISODES)
        ]
        found = Accuracies()
        with torch.no_grad():
            for batch in group(episodes, self.settings.batch_tokens):
                found.add(self.loss(batch)[1], kept=1.0)
        return found.by_name()

    def report(self, loss: float, *, check: bool) -> Report:
        """Return where the training stands, with held-out accuracies if `check`."""
        return Report(
            self.progress(), self.step, self.tokens, self.elapsed_s, self.stream.level, loss, self.accuracies.by_name(),
            self.held_out() if check else {}, tuple(self.departures),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return everything that a resumption needs."""
        return {
            "settings": asdict(self.settings),
            "shape": asdict(self.shape),
            "tokens": list(self.vocabulary.tokens),
            "merges": [list(pair) for pair in self.vocabulary.merges],
            "weights": {name: weight.detach().cpu() for name, weight in self.weights.items()},
            "average": {name: weight.cpu().clone() for name, weight in self.average.items()},
            "muon": self.muon.state(),
            "adam": self.adam.state_dict(),
            "stream": self.stream.state(),
            "counters": [self.step, self.tokens, self.level_step],
            "elapsed_s": self.elapsed_s,
            "running": self.accuracies.counts,
            "stages": self.stages,
            "made_with": surroundings(),
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
                self.average[name].copy_(state["average"][name])
        self.muon.load(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.tokens, self.level_step = state["counters"]
        self.elapsed_s = state["elapsed_s"]
        self.accuracies = Accuracies(state["running"])
        self.departures = departures(state, self.settings)
        self.stages = [*state.get("stages", []), *([stage_of(state)] if self.departures else [])]
        if state.get("made_with", {}).get("episodes") == surroundings()["episodes"]:
            self.stream.load(state["stream"])
        else:
            self.stream.begin(self.settings.seed + self.tokens, state["stream"]["level"])


def resumed(settings: TrainingSettings, checkpoint: Path) -> Training:
    """Return the training of a checkpoint, with the vocabulary it was started with.

    With the same settings and a token budget, on the same machine, what follows is bit for bit
    what an uninterrupted training does; `departures` says why where it is not. A larger budget
    raises the learning rate again: a further stage. Episodes that are no longer generated as they
    were are drawn from a new stream.

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
