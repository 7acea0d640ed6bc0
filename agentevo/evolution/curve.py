"""The success curve of an evolution: held-out success after every step, and its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agentevo.evolution.report import EvolutionReport
from agentevo.runs.report import wilson_interval

Kind = Literal["base", "memory", "weights"]
COLORS = {"base": "#9aa5b1", "memory": "#2f6fb3", "weights": "#2e8b57"}
"""One colour per kind of point and arm, the same in every picture."""


_WEIGHTS = {True: "in weights", False: "weights refused"}


@dataclass(frozen=True, slots=True)
class Point:
    """What was served after a step, on held-out tasks.

    Attributes:
        label: The step, such as "round 1".
        kind: What it changed.
        rate: Share of the gate's tasks that are solved with what is served now.
        tried: The same with the candidate of this step, refused ones included.
        tasks: How many tasks that was.
        accepted: Whether the candidate was served.
    """

    label: str
    kind: Kind
    rate: float
    tried: float
    tasks: int
    accepted: bool

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `rate`."""
        return wilson_interval(round(self.rate * self.tasks), self.tasks)


def curve(report: EvolutionReport) -> list[Point]:
    """Return the points of an evolution in order, the bare base first.

    The base is measured on the gate's tasks if an adapter was judged there, else on the exam.
    """
    tasks = report.tasks.get("gate", 0)
    rate = _base_rate(report)
    points = [Point("base", "base", rate, rate, tasks, True)]
    steps: list[tuple[Kind, Any]] = [("memory", entry) for entry in report.rounds]
    steps += [("weights", entry) for entry in report.weights]
    for kind, entry in sorted(steps, key=lambda step: step[1]["round"]):
        tried = entry["rate"] if kind == "memory" else entry.get("rates", {}).get("candidate")
        accepted = entry["decision"] == "accepted"
        tried = points[-1].rate if tried is None else tried
        label = f"round {entry['round']}" if kind == "memory" else _WEIGHTS[accepted]
        rate = tried if accepted else points[-1].rate
        points.append(Point(label, kind, rate, tried, tasks, accepted))
    return points


def _base_rate(report: EvolutionReport) -> float:
    for entry in report.weights:
        if "base" in entry.get("rates", {}):
            return float(entry["rates"]["base"])
    return next((arm.rate for arm in report.arms if arm.name == "stateless"), 0.0)


def kind_of_arm(name: str) -> Kind:
    """Return the kind whose colour an arm has."""
    return "weights" if name == "memory_weights" else "memory" if name == "memory" else "base"


def draw_curve(report: EvolutionReport, path: Path) -> None:
    """Draw the curve and the arms of the exam into a PNG or SVG file.

    Args:
        report: A finished evolution.
        path: The file to write; its suffix decides the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_points(left, curve(report))
    _draw_arms(right, report)
    figure.savefig(path, dpi=120)


def _draw_points(axes: Any, points: Sequence[Point]) -> None:
    places = range(len(points))
    for at, point in enumerate(points):
        low, high = point.interval
        axes.plot([at, at], [low, high], color=COLORS[point.kind], linewidth=2, alpha=0.5)
        if not point.accepted:
            axes.plot([at], [point.tried], "x", color="#b3412f", markersize=9)
    axes.plot(places, [point.rate for point in points], color="#5a6775", linewidth=1.5, zorder=2)
    axes.scatter(
        places,
        [point.rate for point in points],
        c=[COLORS[point.kind] for point in points],
        s=70,
        zorder=3,
    )
    axes.set_xticks(places, [point.label for point in points])
    axes.set(title="held-out success of what is served", ylim=(-0.04, 1.06))
    _tidy(axes, "y")


def _draw_arms(axes: Any, report: EvolutionReport) -> None:
    arms = list(reversed(report.arms))
    for at, arm in enumerate(arms):
        low, high = arm.interval
        axes.barh(at, arm.rate, color=COLORS[kind_of_arm(arm.name)], height=0.62)
        axes.plot([low, high], [at, at], color="#1f2933", linewidth=1.5)
        tokens = arm.input_tokens / max(1, len(arm.solved))
        axes.text(1.03, at, f"{arm.rate:.0%}, {tokens:.0f} tokens", va="center", fontsize=9)
    axes.set_yticks(range(len(arms)), [arm.name.replace("_", " ") for arm in arms])
    axes.set(title=f"exam of {report.tasks.get('exam', 0)} tasks", xlim=(0, 1.55))
    axes.set_xticks([0, 0.5, 1])
    _tidy(axes, "x")


def _tidy(axes: Any, percent: Literal["x", "y"]) -> None:
    from matplotlib.ticker import PercentFormatter

    axis = axes.xaxis if percent == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis=percent, color="#e4e7eb")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
