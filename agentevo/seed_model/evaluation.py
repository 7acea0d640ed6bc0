"""Measuring a model on held-out worlds: every row with its 95 % interval, and the speed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from agentevo.runs.report import wilson_interval
from agentevo.seed_model.measures import HELD_OUT, MEASURES, Measure, tasks_for
from agentevo.seed_model.player import Played
from agentevo_environments.task import Task

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

WORKERS = 8
LONGEST_ANSWER = 256


@dataclass(frozen=True, slots=True)
class Row:
    """One measured share.

    Attributes:
        name: What was measured.
        goal: What it should be, as text; empty when nothing is asked.
        hits: Successes.
        trials: Independent worlds (answers, for the validity of calls).
        low: Lower end of the 95 % Wilson interval.
        high: Upper end.
        example: A failed task's id and what was last answered, or "".
    """

    name: str
    goal: str
    hits: int
    trials: int
    low: float
    high: float
    example: str = ""

    @property
    def share(self) -> float:
        """Successes per trial, 0 without trials."""
        return self.hits / self.trials if self.trials else 0.0

    @property
    def met(self) -> bool | None:
        """Whether the measured share meets the goal; None without a goal."""
        if not self.goal:
            return None
        sign, bound = self.goal.split(" ")
        return self.share <= float(bound) if sign == "<=" else self.share >= float(bound)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All rows and what they cost.

    Attributes:
        rows: The table.
        seconds: Wall-clock seconds of playing.
        load_s: Seconds to load the model.
        output_tokens: Tokens written.
        input_tokens: Tokens read.
        seed: Of the worlds.
        split: Of the worlds.
    """

    rows: tuple[Row, ...]
    seconds: float
    load_s: float
    output_tokens: int
    input_tokens: int
    seed: int
    split: str

    def as_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON, with shares and verdicts."""
        rows = [{**asdict(row), "share": row.share, "met": row.met} for row in self.rows]
        return {**asdict(self), "rows": rows}


def row(name: str, goal: str, hits: int, trials: int, example: str = "") -> Row:
    """Return a row with its interval."""
    return Row(name, goal, hits, trials, *wilson_interval(hits, trials), example)


def load_model(path: Path) -> "tuple[BaseChatModel, float]":
    """Load a GGUF file as a greedy chat model; return it and the seconds it took.

    Raises:
        ModelError: The file cannot be loaded.
    """
    from agentevo.models.llama.chat import ChatLlamaEngine

    started = time.perf_counter()
    uri = f"{path}?max_sequences={WORKERS}"
    model = ChatLlamaEngine.from_uri(uri, temperature=0.0, max_tokens=LONGEST_ANSWER)
    model.invoke("hello")
    return model, time.perf_counter() - started


def evaluate(  # noqa: PLR0913 (what is measured, on what, and who is told)
    model: "BaseChatModel",
    *,
    count: int = 200,
    seed: int = 0,
    split: str = "test",
    measures: Sequence[Measure] = MEASURES,
    load_s: float = 0.0,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Evaluation:
    """Play every measure on `count` worlds.

    Args:
        model: Any chat model that can bind tools; called from several threads.
        count: Worlds per measure.
        seed: Which worlds of the split.
        split: "test", or "validation" while a model is being developed.
        measures: Rows of the table.
        load_s: What loading took, for the record.
        on_row: Called with each finished row.
    """
    started, rows = time.perf_counter(), []
    played: dict[bool, list[Played]] = {}
    for measure in measures:
        counted = _play_all(model, measure, tasks_for(measure, count, seed, split))
        failed = next((f"{t.id}: {_last(p)}" for t, good, p in counted if not good), "")
        hits = sum(good for _, good, _ in counted)
        rows.append(row(measure.name, measure.goal, hits, len(counted), failed))
        on_row(rows[-1])
        held_out = measure.name.startswith(HELD_OUT)
        played.setdefault(held_out, []).extend(p for _, _, p in counted)
    for held_out, group in played.items():
        name, goal = (
            (f"{HELD_OUT}valid tool calls", "") if held_out else ("valid tool calls", ">= 0.995")
        )
        answers = sum(p.answers for p in group)
        if answers:
            rows.append(row(name, goal, sum(p.valid for p in group), answers))
            on_row(rows[-1])
    everything = [p for group in played.values() for p in group]
    return Evaluation(
        tuple(rows),
        time.perf_counter() - started,
        load_s,
        sum(p.output_tokens for p in everything),
        sum(p.input_tokens for p in everything),
        seed,
        split,
    )


def _play_all(
    model: "BaseChatModel", measure: Measure, tasks: Sequence[Task]
) -> list[tuple[Task, bool, Played]]:
    def one(task: Task) -> tuple[Task, bool, Played]:
        return (task, *measure.verdict(model, task, Random(f"{measure.name} {task.id}")))

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(one, tasks))


def _last(played: Played) -> str:
    if not played.turns:
        return "no call"
    turn = played.turns[-1]
    return f"{turn.action} -> {turn.observation}"
