"""`EvolutionDirectory`: the files of one evolution, `<home>/evolutions/<id>/`.

`config.toml` and `plan.json` (what was asked for), `events.jsonl` (what happened),
`checkpoints.sqlite` (where it stands), `runs/` (its episodes), `branches/` (the memory of each
round), `commands/` (what was asked for meanwhile), `report.json` (what came of it).
"""

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from agentevo.config import Settings, dump_settings, load_settings
from agentevo.errors import RunError
from agentevo.evolution.report import EvolutionReport


@dataclass(frozen=True, slots=True)
class EvolutionDirectory:
    """Where an evolution lives.

    Attributes:
        path: The directory; its name is the id.
    """

    path: Path

    @property
    def id(self) -> str:
        """The id."""
        return self.path.name

    @property
    def home(self) -> Path:
        """The data folder that it is in."""
        return self.path.parent.parent

    def settings(self) -> Settings:
        """Return the settings, with the home it is in now."""
        return load_settings({"home": self.home}, file=self.path / "config.toml", environ={})

    def plan(self) -> dict[str, Any]:
        """Return what was decided before the first round."""
        plan: dict[str, Any] = json.loads((self.path / "plan.json").read_text("utf-8"))
        return plan

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep what was decided before the first round."""
        write_whole(self.path / "plan.json", json.dumps(plan, indent=2, ensure_ascii=False))

    def command(self) -> int:
        """Ask for a distillation after the present round; returns how many were asked for."""
        number = self.commands() + 1
        folder = self.path / "commands"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{number:04}-distil", "")
        return number

    def commands(self) -> int:
        """Return how many distillations were asked for so far."""
        return len(list((self.path / "commands").glob("*-distil")))

    def read_report(self) -> EvolutionReport | None:
        """Return the report; None while there is none."""
        try:
            return EvolutionReport.from_json(json.loads((self.path / "report.json").read_text()))
        except FileNotFoundError:
            return None

    def write_report(self, report: EvolutionReport) -> None:
        """Replace the report as a whole."""
        text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
        write_whole(self.path / "report.json", text)


def create_evolution(settings: Settings) -> EvolutionDirectory:
    """Make the directory of a new evolution.

    Raises:
        RunError: The home cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    folder = settings.home / "evolutions" / f"{stamp}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
        write_whole(folder / "config.toml", dump_settings(settings))
    except OSError as error:
        raise RunError(
            f"cannot make the directory {str(folder)!r}: {error.strerror}; choose another folder "
            "with --home"
        ) from error
    return EvolutionDirectory(folder)


def list_evolutions(home: Path) -> Sequence[EvolutionDirectory]:
    """Return the evolutions under `home`, newest first."""
    plans = (home.absolute() / "evolutions").glob("*/plan.json")
    found = [EvolutionDirectory(plan.parent) for plan in plans]
    return sorted(found, key=lambda directory: directory.id, reverse=True)


def open_evolution(home: Path, name: str) -> EvolutionDirectory:
    """Return an evolution by id, or the newest for "last".

    Raises:
        RunError: There is no such evolution; the message names those nearest to it.
    """
    found = list_evolutions(home)
    ids = [directory.id for directory in found]
    if name == "last" and found:
        return found[0]
    if name not in ids:
        near = get_close_matches(name, ids, n=3, cutoff=0.3) or ids[:3]
        have = f"there are: {', '.join(near)}" if near else "start one with: agentevo evolve"
        raise RunError(f"there is no evolution {name!r} in {str(home)!r}; {have}")
    return found[ids.index(name)]


def command_distillation(home: Path, name: str) -> EvolutionDirectory:
    """Tell an evolution, by id or "last", to distil its rules after its present round.

    One that is stopped does so when it is resumed.

    Raises:
        RunError: There is no such evolution, it has ended, or its recipe never distils.
    """
    directory = open_evolution(home, name)
    report = directory.read_report()
    if report is not None and report.status == "finished":
        raise RunError(
            f"the evolution {directory.id!r} has ended, and its exam was taken; start another one"
        )
    if directory.plan()["recipe"]["in_weight"]["when"] == "never":
        raise RunError(
            f"the recipe of {directory.id!r} never distils; start an evolution whose recipe has "
            'in_weight.when = "command"'
        )
    directory.command()
    return directory


def write_whole(path: Path, text: str) -> None:
    """Replace a file; whoever reads it sees the old or the new text, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
