"""Rounds of distillation over a memory that grows by one scope each round, beside stacked fine-tuning.

    python tests/benchmarks/bench_distillation_rounds.py [--rounds 5] [--arms context stacked]

`context` distils a fresh adapter of all scopes so far every round (the default). `stacked` is the
control: every round fine-tunes on the new scope alone (`sft`, nothing replayed), on top of the adapters
of all rounds before. Shown after every round, through llama.cpp: the columns of `bench_distillation.py`
for the scopes so far, and the largest fall of a column from one round to the next.
"""

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

from bench_distillation import Bench, Table, make_parser, show
from distillation_exam import (
    Exam,
    Player,
    Result,
    practice_of,
)

from agentevo.distillation.base_model import BaseModel, load_base
from agentevo.distillation.publish import Origin, publish
from agentevo.distillation.registry import Adapter
from agentevo.distillation.trainer import train


def exam_so_far(exam: Exam, rounds: int) -> Exam:
    """Return the exam of the first scopes alone."""
    known = set(list(exam.worlds)[:rounds])
    ids = {task.id for name in known for task in (*exam.worlds[name][0], *exam.worlds[name][1])}
    own = {name for name, items in exam.columns.items() if name != "other scopes with rules"}
    columns = {
        name: [item for item in items if name not in own or item[0].id in ids]
        for name, items in exam.columns.items()
    }
    worlds = {name: tasks for name, tasks in exam.worlds.items() if name in known}
    return Exam(worlds, columns, exam.reflections)


class Stack:
    """Adapters that were fine-tuned one on top of the other."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.adapters: list[Adapter] = []

    def learn(self, exam: Exam) -> Player:
        """Fine-tune on the newest scope of an exam, on top of all before."""
        newest = list(exam.worlds)[-1]
        practice = practice_of(self.bench.base, exam.worlds[newest][0])
        dataset = self.bench.dataset(practice, replay=False)
        rows = [row for row in dataset.rows if row.kind == "target"]
        settings = replace(self.bench.settings, method="sft", mix={"target": 19})
        base = self._base()
        trained = train(base, rows, settings)
        distiller = self.bench.distiller
        made = publish(trained.model, base, distiller.registry, Origin("sft"))
        self.adapters.append(made)
        shelf = distiller.model().engine.model.adapters
        scales = {shelf.load(adapter.gguf).id: 1.0 for adapter in self.adapters}
        return Player(distiller.model().model_copy(update={"adapters": scales}))

    def _base(self) -> BaseModel:
        """Return the base with all adapters so far merged into its weights."""
        from peft import PeftModel

        base = load_base(self.bench.distiller.base)
        model = base.model
        for adapter in self.adapters:
            model = PeftModel.from_pretrained(model, str(adapter.folder / "peft"))
            model = model.merge_and_unload()
        model.requires_grad_(False)
        return replace(base, model=model.eval())


def falls(before: dict[str, Result], after: dict[str, Result]) -> tuple[float, str]:
    """Return the largest fall of a column in points, and which column it is."""
    drops = [
        (100 * (before[name][0] / before[name][1] - right / asked), name)
        for name, (right, asked) in after.items()
    ]
    return max(drops)


def main() -> None:
    """Measure."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.set_defaults(arms=["context", "stacked"], seeds=[0])
    given = parser.parse_args()
    given.scopes = given.rounds
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory(prefix="bench-rounds-") as name:
        for seed in given.seeds:
            for arm in given.arms:
                bench = Bench(given, seed, (given.keep or Path(name)) / f"{arm}-{seed}")
                measure(bench, arm, given.rounds)


def measure(bench: Bench, arm: str, rounds: int) -> None:
    """Print the columns of every round of an arm, and the largest fall."""
    stack, before, worst = Stack(bench), None, (0.0, "none")
    for number in range(1, rounds + 1):
        exam = exam_so_far(bench.exam, number)
        if arm == "stacked":
            player = stack.learn(exam)
        else:
            player = bench.adapter(bench.dataset(practice_of(bench.base, exam.practised)))
        results = exam.take(player)
        table: Table = {f"{arm}, round {number}": results}
        show(table)
        if before is not None:
            worst = max(worst, falls(before, results))
        before = results
    print(f"{arm}: largest fall from round to round {worst[0]:.1f} points ({worst[1]})", flush=True)


if __name__ == "__main__":
    main()
