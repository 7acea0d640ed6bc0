"""The picture of a distillation: losses by row kind, probes, and what each scope gained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Shares = Mapping[str, Mapping[str, float]]


def draw_report(
    history: Sequence[Mapping[str, Any]], probes: Mapping[str, Shares], path: Path
) -> None:
    """Draw a distillation into a PNG file.

    Args:
        history: Steps with `step` and `losses`, as a job's report holds them.
        probes: Shares of right answers of adapter and base by column (`columns`) and by scope
            (`scopes`); {} draws the losses alone.
        path: The file to write.
    """
    from matplotlib.figure import Figure

    panels = 3 if probes else 1
    figure = Figure(figsize=(5 + 4 * (panels - 1), 4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_losses(axes[0], history)
    if probes:
        _draw_shares(axes[1], "held-out probes", probes["columns"])
        _draw_shares(axes[2], "without rules, by scope", probes["scopes"])
    figure.savefig(path, dpi=120)


def _draw_losses(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    for kind in sorted({kind for step in history for kind in step["losses"]}):
        points = [(s["step"], s["losses"][kind]) for s in history if kind in s["losses"]]
        axes.plot(*zip(*points, strict=True), label=kind)
    axes.set(title="losses", xlabel="step", ylabel="nats a row", yscale="symlog")
    axes.legend()


def _draw_shares(axes: Any, title: str, shares: Shares) -> None:
    names, width = list(shares), 0.4
    for number, who in enumerate(("base", "adapter")):
        at = [place + width * (number - 0.5) for place in range(len(names))]
        axes.bar(at, [shares[name][who] for name in names], width, label=who)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set(title=title, ylim=(0, 1.05), ylabel="share of right answers")
    axes.legend()
