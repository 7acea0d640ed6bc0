"""The report of an evolution as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from agentevo.evolution.charts import arms_chart, curve_chart
from agentevo.evolution.curve import curve
from agentevo.evolution.report import EvolutionReport

_NOTHING_SEEN = {"margin": 0.0, "reason": "-", "pairs": 0, "mean_difference": 0.0, "p_value": 1.0}
_MOST_SHOWN = 12


def render_page(report: EvolutionReport) -> str:
    """Return the report as an HTML document."""
    title = f"Evolution {report.id}"
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>",
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        f"<style>{style}</style><main><header><h1>{escape(title)}</h1>",
        f"<p>{escape(_subtitle(report))}</p></header>",
        _cards(report),
        _section("Success on held-out tasks, step by step", curve_chart(curve(report))),
        _section(
            f"The exam: {report.tasks.get('exam', 0)} tasks that nothing was learnt from",
            arms_chart(report.arms),
            _arms(report),
        ),
        _section("What was learnt, against its controls", _comparisons(report)),
        _section("Rounds", _rounds(report)),
        _section("Distillations", _distillations(report), _elsewhere(report))
        if report.weights
        else "",
        _section("Success by scope under every generation that was served", _retention(report)),
        _section(f"{len(report.rules)} verified rules", _rules(report.rules)),
        _section("Notes", _list(report.notes)) if report.notes else "",
        _section("How it was done", _facts(report)),
    ]
    return "\n".join(parts) + "</main></html>\n"


def _subtitle(report: EvolutionReport) -> str:
    return (
        f"{report.model} in {report.environment}, recipe {report.recipe['name']}, seed "
        f"{report.seed}; {report.status}: {report.ended or 'not ended'}"
    )


def _cards(report: EvolutionReport) -> str:
    arms = {arm.name: arm for arm in report.arms}
    shown = [
        (names[1], f"{arms[names[0]].rate:.0%}")
        for names in (
            ("stateless", "before learning"),
            ("memory", "with memory"),
            ("memory_weights", "rules in weights"),
        )
        if names[0] in arms
    ]
    if {"memory", "memory_weights"} <= set(arms) and arms["memory"].input_tokens:
        saved = 1 - arms["memory_weights"].input_tokens / arms["memory"].input_tokens
        shown.append(("prompt tokens saved by weights", f"{saved:.0%}"))
    shown.append(("learning", f"{report.cost.get('episodes', 0):.0f} episodes"))
    cards = "".join(
        f"<div class='card'><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in shown
    )
    return f"<div class='cards'>{cards}</div>"


def _facts(report: EvolutionReport) -> str:
    cost = report.cost
    rows = [
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
            f"{cost.get('episodes', 0):.0f} episodes, {cost.get('input_tokens', 0):,.0f} tokens "
            f"read, {cost.get('output_tokens', 0):,.0f} written, {cost.get('seconds', 0):.1f} s",
        ),
        ("wall-clock time", f"{report.seconds:.0f} s"),
    ]
    return _table(("", ""), rows)


def _arms(report: EvolutionReport) -> str:
    columns = ("arm", "success", "95 % interval", "tokens read", "written", "s", "what it is")
    rows = [
        (
            arm.name.replace("_", " "),
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


def _comparisons(report: EvolutionReport) -> str:
    columns = ("arm", "control", "difference", "95 % interval", "paired p", "gain", "got worse")
    rows = [
        (
            entry["arm"].replace("_", " "),
            entry["control"].replace("_", " "),
            f"{entry['difference']:+.1%}",
            f"{entry['interval'][0]:+.1%} to {entry['interval'][1]:+.1%}",
            f"{entry['p_value']:.2g}",
            "-" if entry["normalised_gain"] is None else f"{entry['normalised_gain']:.2f}",
            _named(entry["harmed"]),
        )
        for entry in report.comparisons
    ]
    note = (
        "<p class='hint'>Paired p: exact McNemar test. Gain: share of what the control leaves to "
        "gain. Got worse: tasks that only the control solved.</p>"
    )
    return _table(columns, rows) + note


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"{len(names)}: {shown}{more}" if names else "none"


def _rounds(report: EvolutionReport) -> str:
    columns = ("round", "ability", "decision", "held-out", "pairs", "difference", "p", "changes")
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
            f"{entry['p_value']:.2g}",
            ", ".join(f"{n} {name}" for name, n in entry.items() if name not in shown and n),
        )
        for entry in report.rounds
    ]
    return _table(columns, rows)


def _distillations(report: EvolutionReport) -> str:
    columns = ("after round", "decision", "adapter", "criterion", "shown", "pairs", "difference", "p")  # fmt: skip
    rows = [
        (
            entry["round"],
            entry["decision"],
            entry["adapter"] or entry["note"],
            f"{name} (margin {seen['margin']:g})",
            seen["reason"],
            seen["pairs"],
            f"{seen['mean_difference']:+.2f}",
            f"{seen['p_value']:.2g}",
        )
        for entry in report.weights
        for name, seen in (entry["criteria"] or {"-": _NOTHING_SEEN}).items()
    ]
    return _table(columns, rows)


def _elsewhere(report: EvolutionReport) -> str:
    kept = report.elsewhere
    if not kept:
        return ""
    return (
        f"<p>Rules told in other scopes, {kept['questions']} questions: the adapter follows "
        f"{kept['adapter']:.1%}, the base {kept['base']:.1%}; lost {len(kept['lost'])} (95 % interval "
        f"of the share: {kept['lost_interval'][0]:.1%} to {kept['lost_interval'][1]:.1%}), gained "
        f"{len(kept['gained'])}.</p>"
    )


def _retention(report: EvolutionReport) -> str:
    """Return a table whose cells are the darker the higher the success."""
    head = "".join(
        f"<th>{escape(str(name))}</th>"
        for name in ("served after", *report.retention.get("abilities", ()))
    )
    body = []
    for row in report.retention.get("rows", ()):
        cells = "".join(
            "<td>-</td>"
            if rate is None
            else f"<td class='heat' style='--h:{rate:.2f}'>{rate:.0%}</td>"
            for rate in row["rates"]
        )
        body.append(f"<tr><td>round {row['round']}, {escape(row['kind'])}</td>{cells}</tr>")
    return f"<div class='wide'><table><tr>{head}</tr>{''.join(body)}</table></div>"


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns) if any(columns) else ""
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<div class='wide'><table>{f'<tr>{head}</tr>' * bool(head)}{body}</table></div>"


def _cell(value: object) -> str:
    text = str(value)
    kind = f" class='{text}'" if text in ("accepted", "refused", "unchanged") else ""
    return f"<td><span{kind}>{escape(text)}</span></td>"


def _rules(texts: Sequence[str]) -> str:
    return f"<ul class='rules'>{''.join(f'<li>{escape(text)}</li>' for text in sorted(texts))}</ul>"


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
