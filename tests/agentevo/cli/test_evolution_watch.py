"""The live view of an evolution and the curve as text."""

from typing import Any

import pytest

from agentevo.cli.curve import bars
from agentevo.cli.watch import EvolutionWatch
from agentevo.events import make_event

STORY: list[tuple[str, int, dict[str, Any]]] = [
    ("round_started", 1, {"ability": "quirks", "rounds": 3}),
    ("acted", 1, {"input_tokens": 900, "output_tokens": 100}),
    ("episode_finished", 1, {"solved": True}),
    ("practised", 1, {"attempts": 40, "solved": 3}),
    ("memory_updated", 1, {"verified": 7, "rules": 9}),
    ("round_finished", 1, {"decision": "accepted", "rate": 0.5}),
    ("distillation_started", 1, {"rules": 7}),
    ("taught", 1, {"attempts": 20, "solved": 20}),
    ("distilling", 1, {"step": 10, "steps": 200, "losses": {}}),
    ("distillation_finished", 1, {"adapter": "a1", "counts": {}, "note": ""}),
    ("weights_judged", 1, {"decision": "refused", "rates": {"candidate": 0.25}}),
    ("refined", 1, {"kept": 1, "dropped": 0}),
]


def tell(watch: EvolutionWatch) -> None:
    with watch:
        for kind, number, data in STORY:
            watch(make_event(kind, "e", data, iteration=number))


def test_without_a_terminal_every_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell(EvolutionWatch())
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "step round 1 of 3: quirks, practised 3/40 solved, memory 7 verified, 9 rules, "
        "held-out success 50%, verdict accepted, tokens 1,000, s "
    )
    assert second.startswith("step distil 7 rules, practised 20/20 solved, held-out success 25%, ")
    assert "verdict refused" in second


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    tell(EvolutionWatch(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_table_grow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    tell(EvolutionWatch())
    shown = capsys.readouterr().err
    assert "held-out success" in shown
    assert "distil 7 rules" in shown


def test_bars_are_as_high_as_their_rates() -> None:
    chart = list(bars([("base", 0.0), ("half", 0.5), ("all", 1.0)]))
    body = [line.partition("┤")[2] for line in chart if "┤" in line]
    heights = [sum("█" in line[at : at + 8] for line in body) for at in (0, 8, 16)]
    assert heights == [0, 4, 8]
    assert chart[0].split() == ["0%", "50%", "100%"]
    assert chart[-1].split() == ["base", "half", "all"]


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.333, 0.999, 1.0])
def test_every_rate_can_be_drawn_and_labels_are_whole(rate: float) -> None:
    label = "a label that is longer than a bar"
    assert label in list(bars([(label, rate), ("b", rate)]))[-1]
