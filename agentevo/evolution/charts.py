"""The charts of a report's page, as SVG that needs no script: the curve and the arms."""

from collections.abc import Iterator, Sequence
from html import escape

from agentevo.evaluation.comparison import Arm
from agentevo.evolution.curve import Point, kind_of_arm

_CURVE_WIDTH, _CURVE_HEIGHT = 760, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 40, 26, 40
_AXIS = 46
_ROW, _NAMES, _FIGURES, _BARS = 38, 130, 190, 440


def curve_chart(points: Sequence[Point]) -> str:
    """Draw held-out success after every step, with intervals; refused candidates are crosses."""
    wide = _CURVE_WIDTH - _LEFT - _RIGHT
    high = _CURVE_HEIGHT - _TOP - _BOTTOM
    step = wide / max(1, len(points) - 1)

    def place(at: int, rate: float) -> tuple[float, float]:
        return _LEFT + at * step, _TOP + (1 - rate) * high

    drawn = [*_grid(place(0, 1)[1], high)]
    line = " ".join("{:.1f},{:.1f}".format(*place(i, p.rate)) for i, p in enumerate(points))
    drawn.append(f"<polyline class='curve' points='{line}'/>")
    for at, point in enumerate(points):
        drawn += _mark(point, place(at, point.rate), place(at, point.tried)[1], high)
    return _svg(_CURVE_WIDTH, _CURVE_HEIGHT, "Held-out success after every step", drawn)


def _grid(top: float, high: float) -> Iterator[str]:
    for share in (0, 25, 50, 75, 100):
        y = top + (1 - share / 100) * high
        yield (
            f"<line class='grid' x1='{_AXIS}' x2='{_CURVE_WIDTH - 8}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text class='axis' x='{_AXIS - 10}' y='{y + 4:.1f}' text-anchor='end'>{share}%</text>"
        )


def _mark(point: Point, at: tuple[float, float], tried: float, high: float) -> Iterator[str]:
    (x, y), (low, up) = at, point.interval
    ends = (_TOP + (1 - low) * high, _TOP + (1 - up) * high)
    yield (
        f"<line class='interval {point.kind}' x1='{x:.1f}' x2='{x:.1f}' y1='{ends[0]:.1f}' "
        f"y2='{ends[1]:.1f}'/>"
    )
    if not point.accepted:
        yield (
            f"<path class='refused' d='M{x - 6:.1f} {tried - 6:.1f}l12 12m0 -12l-12 12'>"
            f"<title>refused: {point.tried:.0%}</title></path>"
        )
    yield f"<circle class='{point.kind}' cx='{x:.1f}' cy='{y:.1f}' r='7'/>"
    yield (
        f"<text class='value' x='{x:.1f}' y='{y - 13:.1f}' text-anchor='middle'>"
        f"{point.rate:.0%}</text>"
    )
    yield (
        f"<text class='axis' x='{x:.1f}' y='{_CURVE_HEIGHT - 12}' text-anchor='middle'>"
        f"{escape(point.label)}</text>"
    )


def arms_chart(arms: Sequence[Arm]) -> str:
    """Draw one bar per arm with its interval, its rate, and the tokens a task reads."""
    drawn = []
    for index, arm in enumerate(arms):
        top, (low, up) = index * _ROW + 6, arm.interval
        middle, tokens = top + 12, arm.input_tokens / max(1, len(arm.solved))
        drawn += [
            f"<text class='name' x='0' y='{top + 17}'>{escape(arm.name.replace('_', ' '))}</text>",
            f"<rect class='{kind_of_arm(arm.name)}' x='{_NAMES}' y='{top}' height='24' rx='4' "
            f"width='{max(2.0, arm.rate * _BARS):.1f}'/>",
            f"<line class='whisker' x1='{_NAMES + low * _BARS:.1f}' "
            f"x2='{_NAMES + up * _BARS:.1f}' y1='{middle}' y2='{middle}'/>",
            f"<text class='value' x='{_NAMES + _BARS + 16}' y='{top + 17}'>{arm.rate:.0%}</text>",
            f"<text class='axis' x='{_NAMES + _BARS + 64}' y='{top + 17}'>"
            f"{tokens:,.0f} prompt tokens</text>",
        ]
    height = max(1, len(arms)) * _ROW + 6
    return _svg(_NAMES + _BARS + _FIGURES, height, "Success of every arm on the exam", drawn)


def _svg(width: int, height: int, label: str, drawn: Sequence[str]) -> str:
    return f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{label}'>{''.join(drawn)}</svg>"
