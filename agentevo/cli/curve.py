"""A curve as upright bars of text, for terminals and for logs alike."""

from collections.abc import Iterator, Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_HEIGHT, _WIDTH = 8, 6


def bars(points: Sequence[tuple[str, float]]) -> Iterator[str]:
    """Yield the lines of a chart, from the top down.

    Args:
        points: Label and rate, from 0 to 1, of every bar.
    """
    column = max([_WIDTH, *(len(label) for label, _ in points)]) + 2
    yield " " * 6 + "".join(f"{rate:.0%}".center(column) for _, rate in points).rstrip()
    for row in range(_HEIGHT, 0, -1):
        share = f"{row / _HEIGHT:.0%}" if row % (_HEIGHT // 2) == 0 else ""
        cells = ((_block(rate, row) * _WIDTH).center(column) for _, rate in points)
        yield f"{share:>4} ┤" + "".join(cells).rstrip()
    yield "  0% ┼" + "─" * column * len(points)
    yield " " * 6 + "".join(label.center(column) for label, _ in points).rstrip()


def _block(rate: float, row: int) -> str:
    """Return the character that fills a row of a bar as far as the rate reaches."""
    eighths = round(rate * _HEIGHT * 8) - (row - 1) * 8
    return _EIGHTHS[max(0, min(8, eighths))]
