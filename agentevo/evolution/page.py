"""The report of an evolution as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape

from agentevo.evolution.report import EvolutionReport

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}th,td{border-bottom:1px solid #ddd;padding:.3rem .7rem;
text-align:left;vertical-align:top}th{background:#f5f5f5}code{background:#f5f5f5}
svg{display:block;margin:1rem 0}
"""
_WIDTH, _ROW, _LEFT = 640, 34, 130
_NOTHING_SEEN = {"margin": 0.0, "reason": "-", "pairs": 0, "mean_difference": 0.0, "p_value": 1.0}


def render_page(report: EvolutionReport) -> str:
    """Return the report as an HTML document."""
    title = f"Evolution {report.id}"
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
        _facts(report),
        "<h2>Arms on the exam</h2>",
        _bars(report),
        _arms(report),
        "<h2>What was learnt against its controls</h2>",
        _comparisons(report),
        "<h2>Rounds</h2>",
        _rounds(report),
        *(["<h2>Distillations</h2>", _distillations(report)] if report.weights else []),
        "<h2>Success by scope under every served generation</h2>",
        _retention(report),
        f"<h2>{len(report.rules)} rules that are served</h2>",
        _list(report.rules),
    ]
    if report.notes:
        parts += ["<h2>Notes</h2>", _list(report.notes)]
    return "\n".join(parts) + "</html>\n"


def _facts(report: EvolutionReport) -> str:
    rows = [
        ("status", f"{report.status}: {report.ended or 'not ended'}"),
        ("environment", report.environment),
        ("model", report.model),
        ("recipe", f"{report.recipe['name']} ({report.decisions['recipe']})"),
        ("objective", f"{report.objective['ability']} ({report.decisions['objective']})"),
        ("autonomy", report.autonomy),
        ("tasks", ", ".join(f"{count} {name}" for name, count in report.tasks.items())),
        (
            "generations",
            f"{report.generations.get('before')} before, {report.generations.get('served')} now",
        ),
        ("adapter", report.adapter or "none, the bare base"),
        (
            "cost of learning",
            f"{report.cost.get('episodes', 0):.0f} episodes, "
            f"{report.cost.get('input_tokens', 0):,.0f} tokens read, "
            f"{report.cost.get('output_tokens', 0):,.0f} written, "
            f"{report.cost.get('seconds', 0):.1f} s",
        ),
        ("seed", report.seed),
    ]
    return _table(("", ""), rows)


def _arms(report: EvolutionReport) -> str:
    columns = ("arm", "success", "95 % interval", "tokens read", "tokens written", "s", "what")
    rows = [
        (
            arm.name,
            f"{arm.rate:.1%}",
            f"{arm.interval[0]:.1%} to {arm.interval[1]:.1%}",
            f"{arm.input_tokens:,}",
            f"{arm.output_tokens:,}",
            f"{arm.seconds:.1f}",
            arm.note,
        )
        for arm in report.arms
    ]
    return _table(columns, rows)


def _bars(report: EvolutionReport) -> str:
    """Draw one bar per arm with its interval."""
    scale = _WIDTH - _LEFT - 60
    drawn = []
    for index, arm in enumerate(report.arms):
        top, (low, high) = index * _ROW + 6, arm.interval
        middle = top + 11
        drawn += [
            f"<text x='0' y='{top + 16}' font-size='13'>{escape(arm.name)}</text>",
            f"<rect x='{_LEFT}' y='{top}' height='22' fill='#4a7db5' "
            f"width='{max(1.0, arm.rate * scale):.1f}'/>",
            f"<line x1='{_LEFT + low * scale:.1f}' x2='{_LEFT + high * scale:.1f}' y1='{middle}' "
            f"y2='{middle}' stroke='#222' stroke-width='2'/>",
            f"<text x='{_LEFT + scale + 8}' y='{top + 16}' font-size='13'>{arm.rate:.0%}</text>",
        ]
    height = max(1, len(report.arms)) * _ROW + 6
    label = "Success rate of every arm with its interval"
    return (
        f"<svg width='{_WIDTH}' height='{height}' role='img' aria-label='{label}'>"
        + "".join(drawn)
        + "</svg>"
    )


def _comparisons(report: EvolutionReport) -> str:
    columns = (
        "arm",
        "control",
        "difference",
        "95 % interval",
        "paired p",
        "normalised gain",
        "got worse",
    )
    rows = [
        (
            entry["arm"],
            entry["control"],
            f"{entry['difference']:+.1%}",
            f"{entry['interval'][0]:+.1%} to {entry['interval'][1]:+.1%}",
            f"{entry['p_value']:.4f}",
            "-" if entry["normalised_gain"] is None else f"{entry['normalised_gain']:.2f}",
            ", ".join(entry["harmed"]) or "none",
        )
        for entry in report.comparisons
    ]
    return _table(columns, rows)


def _rounds(report: EvolutionReport) -> str:
    columns = ("round", "ability", "decision", "gate rate", "pairs", "difference", "p", "changes")
    shown = {
        *("round", "ability", "decision", "rate", "pairs", "mean_difference", "p_value", "worse"),
        *("abilities", "failures"),
    }
    rows = [
        (
            entry["round"],
            entry["ability"],
            entry["decision"],
            "-" if entry["rate"] is None else f"{entry['rate']:.0%}",
            entry["pairs"],
            f"{entry['mean_difference']:+.2f}",
            f"{entry['p_value']:.4f}",
            ", ".join(f"{count} {name}" for name, count in entry.items() if name not in shown),
        )
        for entry in report.rounds
    ]
    return _table(columns, rows)


def _distillations(report: EvolutionReport) -> str:
    columns = (
        "after round",
        "decision",
        "adapter",
        "criterion",
        "shown",
        "pairs",
        "difference",
        "p",
    )
    rows = [
        (
            entry["round"],
            entry["decision"],
            entry["adapter"] or entry["note"],
            f"{name} (margin {seen['margin']:g})",
            seen["reason"],
            seen["pairs"],
            f"{seen['mean_difference']:+.2f}",
            f"{seen['p_value']:.4f}",
        )
        for entry in report.weights
        for name, seen in (entry["criteria"] or {"-": _NOTHING_SEEN}).items()
    ]
    return _table(columns, rows)


def _retention(report: EvolutionReport) -> str:
    rows = [
        (
            f"round {row['round']}, {row['kind']}",
            *("-" if rate is None else f"{rate:.0%}" for rate in row["rates"]),
        )
        for row in report.retention.get("rows", ())
    ]
    return _table(("served after", *report.retention.get("abilities", ())), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns) if any(columns) else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>" if head else f"<table>{body}</table>"


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li><code>{escape(text)}</code></li>" for text in texts) + "</ul>"
