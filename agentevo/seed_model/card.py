"""The card of a seed model: what it is, how it was made, what was measured."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentevo.seed_model.provenance import stage_of
from agentevo.seed_model.settings import TrainingSettings
from agentevo_environments.packs.quirks.difficulty import SEEDS
from agentevo_environments.packs.quirks.worlds import HELD_OUT_COMBINATIONS, HELD_OUT_KINDS

GENERATOR = "quirks-2"
SUMMARY = (
    "A test organism, not a capable assistant: a tiny model trained from scratch on generated "
    "episodes of the quirks environment. It follows rules in its prompt, reads errors and writes "
    "rules from them, in this one format only, and knows nothing else."
)


def make_card(
    training: Mapping[str, Any], measured: Mapping[str, Any] | None = None, note: str = ""
) -> dict[str, Any]:
    """Return the card of a trained model.

    Args:
        training: A checkpoint's state.
        measured: An evaluation as JSON.
        note: Anything else that one should know about how it was trained.
    """
    step, tokens, _ = training["counters"]
    return {
        "summary": SUMMARY,
        "generator": GENERATOR,
        "seeds": {split: [seeds.start, seeds.stop - 1] for split, seeds in SEEDS.items()},
        "held_out": {
            "names": "one fifth of all syllable pairs",
            "kinds": list(HELD_OUT_KINDS),
            "combinations": sorted(" + ".join(sorted(pair)) for pair in HELD_OUT_COMBINATIONS),
        },
        "parameters": sum(weight.numel() for weight in training["weights"].values()),
        "shape": dict(training["shape"]),
        "tokens": tokens,
        "steps": step,
        "training_s": round(training["elapsed_s"]),
        "settings": dict(training["settings"]),
        "command": _command(training),
        "stages": [*training.get("stages", []), stage_of(training)],
        "note": note,
        "commit": _commit(),
        "measured": dict(measured) if measured else None,
    }


def _command(training: Mapping[str, Any]) -> str:
    """Return the command of the last stage."""
    settings, usual = training["settings"], TrainingSettings(tokens=1)
    words = ["agentevo seed-model train"]
    for name in ("tokens", "minutes"):
        words += [f"--{name} {settings[name]:.12g}"] if settings[name] else []
    for name in ("rate", "plateau"):
        changed = settings[name] != getattr(usual, name)
        words += [f"--{name} {settings[name]:.12g}"] if changed else []
    words.append(f"--seed {settings['seed']} --device {settings['device']}")
    return " ".join([*words, *(["--resume"] if training.get("stages") else [])])


def _commit() -> str:
    """Return the commit of the source tree, "unknown" outside of one."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def table_rows(measured: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of an evaluation as text: measure, goal, share, interval, verdict."""
    verdicts = {True: "met", False: "missed", None: ""}
    return [
        [
            row["name"],
            row["goal"],
            f"{row['hits']}/{row['trials']} = {row['share']:.3f}",
            f"[{row['low']:.3f}, {row['high']:.3f}]",
            verdicts[row["met"]],
        ]
        for row in measured["rows"]
    ]
