"""Pictures of a distillation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_losses(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss of every row kind over the steps into a PNG file.

    Args:
        history: Steps with `step` and `losses`, as a job's report holds them.
        path: The file to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    kinds = sorted({kind for step in history for kind in step["losses"]})
    for kind in kinds:
        points = [(s["step"], s["losses"][kind]) for s in history if kind in s["losses"]]
        axes.plot(*zip(*points, strict=True), label=kind)
    axes.set(xlabel="step", ylabel="loss, nats a row", yscale="symlog")
    axes.legend()
    figure.savefig(path, dpi=120)
