"""The picture of `agentevo memory map`: records as points of the plane of most variance."""

from pathlib import Path

from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal
from agentevo_memory.transaction import pack_namespace

_LABELLED = 40


def draw(journal: Journal, namespace: tuple[str, ...], out: Path) -> int:
    """Write a PNG and return the number of points.

    Raises:
        RecordError: If fewer than two records have a vector.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = journal.query(
        "SELECT kind, status, gist, data FROM vector JOIN record USING(rid) WHERE slot=0"
        " AND status<>'erased' AND model=(SELECT model FROM vector ORDER BY rid DESC LIMIT 1)"
        " AND (?='' OR namespace=?)",
        (pack_namespace(namespace), pack_namespace(namespace)),
    )
    if len(rows) < 2:  # noqa: PLR2004 - a plane needs two points
        raise RecordError(f"{len(rows)} records have vectors; a map needs two: insert some first")
    matrix = np.stack([np.frombuffer(row[3], dtype="<f4") for row in rows])
    centred = matrix - matrix.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    points = centred @ axes.T
    figure = Figure(figsize=(10, 8))
    FigureCanvasAgg(figure)
    plot = figure.add_subplot()
    for kind in sorted({row[0] for row in rows}):
        chosen = [i for i, row in enumerate(rows) if row[0] == kind]
        plot.scatter(points[chosen, 0], points[chosen, 1], s=18, label=f"{kind} ({len(chosen)})")
    for (x, y), row in list(zip(points, rows, strict=True))[:_LABELLED]:
        text = "".join(c if c.isascii() else "?" for c in row[2])
        plot.annotate(text[:32].replace("$", ""), (x, y), fontsize=6, alpha=0.7)
    plot.legend()
    plot.set_title(f"{len(rows)} records, the two directions of most variance")
    figure.savefig(out, format="png", dpi=120)
    return len(rows)
