"""Distillation on the seed model: what an adapter gains, and what it damages, through llama.cpp.

    python tests/benchmarks/bench_distillation.py [--seeds 0 1 2] [--arms base context sft shuffled foreign]

Several held-out scopes are learnt at once. Arms: `base`, `context` (the default method), `sft` without
replay, `shuffled` (each scope is taught the rules of another), `foreign` (an adapter of other
scopes), `forget` (one rule forgotten and everything distilled again). `--split validation` is for choosing settings, `test` for reporting. Shares come with Wilson's
95 % intervals over the tasks of all seeds; times are of one run on this machine.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from distillation_exam import (
    Exam,
    Player,
    Result,
    all_rules,
    make_exam,
    practice_of,
    practise,
    rule_to_forget,
    same_as,
    seed_replay,
)

from agentevo.distillation.counterfactuals import Copies, counterfactual_probes, rename
from agentevo.distillation.dataset import Dataset, Practice, Probe, build_dataset
from agentevo.distillation.distiller import Distiller
from agentevo.distillation.jobs import plan_job, run_job
from agentevo.distillation.practice import Setting, answer_of
from agentevo.distillation.registry import sha256_of
from agentevo.distillation.settings import TrainSettings
from agentevo.runs.report import wilson_interval
from agentevo.seed_model.shipped import seed_model_path
from agentevo_environments.packs.quirks import names

FRESH = 80
LONGEST_EPISODE = 4000
Table = dict[str, dict[str, Result]]


class Bench:
    """One seed: its exam, its data, and the adapters made of them."""

    def __init__(self, options: argparse.Namespace, seed: int, home: Path) -> None:
        self.options, self.seed = options, seed
        self.settings = TrainSettings(**{"seed": seed} | json.loads(options.train))
        self.distiller = Distiller(home, options.model, Setting(""), train=self.settings)
        self.base = Player(self.distiller.model())
        self.exam = self._exam(seed)

    def _exam(self, seed: int) -> Exam:
        given = self.options
        return make_exam(given.split, seed, scopes=given.scopes, tasks=given.tasks, size=given.size)

    def dataset(self, practice: Sequence[Practice], *, replay: bool = True) -> Dataset:
        """Return the rows of an adapter."""
        probes: list[Probe] = []
        if replay:
            usable = [episode for episode in practice if episode.solved]
            copies = Copies(**json.loads(self.options.copies))
            fresh = self._fresh()
            probes += counterfactual_probes(usable, fresh, copies=copies, seed=self.seed)
            probes += seed_replay(self.base, self.options.replay, self.seed)
        return build_dataset(practice, probes, answer_of(self.base.model))

    def _fresh(self) -> list[str]:
        random, used = Random(f"fresh {self.seed}"), self.exam.names()
        drawn = {names.draw_name(random, reserved=False).capitalize() for _ in range(FRESH)}
        return sorted(drawn - used)

    def adapter(self, dataset: Dataset, settings: TrainSettings | None = None) -> Player:
        """Train and register an adapter; return who plays with it."""
        chosen = settings or self.settings
        job = plan_job(self.distiller.jobs, self.options.model, dataset, chosen)
        started = time.perf_counter()
        adapter = run_job(job, self.distiller.registry, on_step=_tell)
        metrics = adapter.manifest.metrics
        print(
            f"   {len(dataset.rows)} rows {dataset.counts()}, {job.settings.steps} steps, "
            f"{time.perf_counter() - started:.0f} s in all, parity {metrics['parity_agreement']:.3f}",
            flush=True,
        )
        return Player(self.distiller.model(adapter))

    def arm(self, name: str) -> Player:
        """Return who plays in an arm."""
        player: Player = getattr(self, f"arm_{name}")()
        return player

    def arm_base(self) -> Player:
        """The base model."""
        return self.base

    def arm_context(self) -> Player:
        """Context distillation with replay and contrastive scopes."""
        return self.adapter(self.dataset(practice_of(self.base, self.exam.practised)))

    def arm_sft(self) -> Player:
        """Supervised fine-tuning on the same episodes, nothing replayed."""
        dataset = self.dataset(practice_of(self.base, self.exam.practised), replay=False)
        targets = tuple(row for row in dataset.rows if row.kind == "target")
        settings = replace(self.settings, method="sft", mix={"target": 19})
        return self.adapter(replace(dataset, rows=targets), settings)

    def arm_shuffled(self) -> Player:
        """Every scope is practised with the rules of another, and the verdicts are ignored."""
        scopes = sorted(self.exam.worlds)
        other = dict(zip(scopes, scopes[1:] + scopes[:1], strict=True))
        rules = {scope: all_rules(self.exam.worlds[scope][0][0]) for scope in scopes}

        def do(model: Any, task: Any) -> Practice:
            wrong = other[task.scope]
            told = [rename(rule, wrong, task.scope) for rule in rules[wrong]]
            episode: Practice = practise(model, task, told, told)
            return replace(episode, solved=True, errors=0)

        practice = [e for e in self.base.map(do, self.exam.practised) if has_end(e)]
        return self.adapter(self.dataset(practice))

    def arm_forget(self) -> Player:
        """Everything distilled again without one rule."""
        forgotten, _ = rule_to_forget(self.exam)
        return self.adapter(self.dataset(practice_of(self.base, self.exam.practised, [forgotten])))

    def results(self, arm: str) -> dict[str, Result]:
        """Return the columns of an arm, of the rule to forget as well."""
        player = self.arm(arm)
        _, tasks = rule_to_forget(self.exam)
        taken: dict[str, Result] = self.exam.take(player)
        return taken | {
            "needs the rule to forget": player.at_once([(task, ()) for task in tasks]),
            "acts as the base there": same_as(self.base, player, tasks),
        }

    def arm_foreign(self) -> Player:
        """An adapter of as many other scopes."""
        elsewhere = self._exam(self.seed + 500)
        return self.adapter(self.dataset(practice_of(self.base, elsewhere.practised)))


def has_end(episode: Practice) -> bool:
    """Return whether the agent did not talk on until the context was full."""
    return sum(len(str(message)) for message in episode.messages) < LONGEST_EPISODE


def _tell(progress: Any) -> None:
    if progress.step % 50 == 0:
        losses = ", ".join(f"{kind} {loss:.3f}" for kind, loss in progress.losses.items())
        print(f"   step {progress.step}: {losses}; {progress.seconds:.2f} s a step", flush=True)


def add(table: Table, arm: str, results: dict[str, Result]) -> None:
    """Add the results of one seed to an arm."""
    row = table.setdefault(arm, {})
    for column, (right, asked) in results.items():
        before = row.get(column, (0, 0))
        row[column] = (before[0] + right, before[1] + asked)


def show(table: Table) -> None:
    """Print the table, one line per arm and column."""
    for arm, row in table.items():
        print(f"== {arm}")
        for column, (right, asked) in row.items():
            low, high = wilson_interval(right, asked)
            print(
                f"   {column:27s} {right:4d}/{asked:4d} = {right / asked:.3f} [{low:.3f}, {high:.3f}]"
            )


def draw(table: Table, path: Path) -> None:
    """Draw the table as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    columns = list(next(iter(table.values())))
    width = 0.8 / len(table)
    for number, (arm, row) in enumerate(table.items()):
        shares = [row[c][0] / row[c][1] for c in columns]
        bounds = [wilson_interval(*row[c]) for c in columns]
        errors = [
            [share - low for share, (low, _) in zip(shares, bounds, strict=True)],
            [high - share for share, (_, high) in zip(shares, bounds, strict=True)],
        ]
        at = [i + width * (number - (len(table) - 1) / 2) for i in range(len(columns))]
        axes.bar(at, shares, width, yerr=errors, capsize=2, label=arm)
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right")
    axes.set(ylim=(0, 1.05), ylabel="solved at once")
    axes.legend()
    figure.savefig(path, dpi=120)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that both benchmarks of distillation share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=seed_model_path())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--arms", nargs="+", default=["base", "context", "sft", "shuffled", "foreign"]
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--scopes", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=40, help="practised tasks of each scope")
    parser.add_argument("--size", type=int, default=70, help="tasks of the other columns")
    parser.add_argument("--replay", type=int, default=40, help="episodes of training worlds, twice")
    parser.add_argument("--train", default="{}", help="TrainSettings as JSON")
    parser.add_argument("--copies", default="{}", help="counterfactuals per episode as JSON")
    parser.add_argument("--keep", type=Path, help="where jobs and adapters stay")
    return parser


def main() -> None:
    """Measure the arms of all seeds."""
    parser = make_parser(__doc__)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    table: Table = {}
    with tempfile.TemporaryDirectory(prefix="bench-distillation-") as name:
        for seed in given.seeds:
            bench = Bench(given, seed, (given.keep or Path(name)) / str(seed))
            base = sha256_of(given.model)[:12]
            print(f"seed {seed}: base {base}, scopes {', '.join(bench.exam.worlds)}", flush=True)
            for arm in given.arms:
                add(table, arm, bench.results(arm))
                show({f"{arm}, {len(given.seeds)} seeds": table[arm]})
    print("\nall seeds")
    show(table)
    if given.picture:
        draw(table, given.picture)


if __name__ == "__main__":
    main()
