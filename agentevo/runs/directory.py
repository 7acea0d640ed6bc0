"""`RunDirectory`: the files of one run, `<home>/runs/<id>/`.

`config.toml` (what was asked for), `events.jsonl` (what happened), `checkpoints.sqlite` (where it
stands), `report.json` (what came of it), `lock` (who is working on it).
"""

import json
import os
import platform
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agentevo.config import Settings, dump_settings, load_settings
from agentevo.errors import RunError, UnknownRunError
from agentevo.runs.lock import RunLock, is_held
from agentevo.runs.report import RunReport

_RECORDED_PACKAGES = ("agentevo", "langgraph", "langchain-core", "langgraph-checkpoint-sqlite")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where a run lives.

    Attributes:
        path: The directory; its name is the run id.
    """

    path: Path

    @property
    def id(self) -> str:
        """The run id."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The resolved settings, as TOML."""
        return self.path / "config.toml"

    @property
    def events(self) -> Path:
        """The events, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints and the ledger."""
        return self.path / "checkpoints.sqlite"

    @property
    def report(self) -> Path:
        """The report; absent until the run has ended once."""
        return self.path / "report.json"

    def lock(self) -> RunLock:
        """Return the exclusive right to work on the run, to be entered."""
        return RunLock(self.path / "lock")

    def is_running(self) -> bool:
        """Return whether a process is working on the run."""
        return is_held(self.path / "lock")

    def settings(self) -> Settings:
        """Return the settings of the run, with the home it is in now."""
        return load_settings({"home": self.path.parent.parent}, file=self.config, environ={})

    def write_report(self, report: RunReport) -> None:
        """Replace `report.json`; whoever reads it sees the old or the new one, whole.

        Raises:
            RunError: The disk is full or not writable.
        """
        text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
        try:
            _replace(self.report, text + "\n")
        except OSError as error:
            raise RunError(
                f"cannot write {str(self.report)!r}: {error.strerror}; all outcomes are kept: make "
                f"room, then run: agentevo resume {self.id}"
            ) from error

    def read_report(self) -> RunReport | None:
        """Return the report; None while there is none."""
        try:
            return RunReport.from_json(json.loads(self.report.read_text("utf-8")))
        except FileNotFoundError:
            return None


def create_run(settings: Settings, run_id: str = "") -> RunDirectory:
    """Make the directory of a new run and write its settings into it.

    Args:
        settings: What the run is asked to do; it lies under `settings.home`.
        run_id: An id of the caller's choice; a run of this id that exists already is returned as
            it is. Default: a new id.

    Raises:
        RunError: The home cannot be written.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = run_id or f"{stamp}-{secrets.token_hex(2)}"
    directory = RunDirectory(settings.home / "runs" / name)
    if run_id and directory.config.is_file():
        return directory
    made_with = ", ".join(f"{name} {number}" for name, number in versions().items())
    try:
        directory.path.mkdir(parents=True, exist_ok=bool(run_id))
        _replace(directory.config, f"# {made_with}\n{dump_settings(settings)}")
    except OSError as error:
        raise RunError(
            f"cannot make the run directory {str(directory.path)!r}: {error.strerror}; choose "
            "another folder with --home"
        ) from error
    return directory


def open_run(home: Path, run_id: str) -> RunDirectory:
    """Return the directory of an existing run.

    Raises:
        UnknownRunError: There is no such run; the message names those nearest to it.
    """
    directory = RunDirectory(home.absolute() / "runs" / run_id)
    if not run_id or "/" in run_id or not directory.config.is_file():
        ids = [each.id for each in run_directories(home)]
        near = get_close_matches(run_id, ids, n=3, cutoff=0.3) or ids[:3]
        have = f"; there are: {', '.join(near)}" if near else ""
        raise UnknownRunError(
            f"there is no run {run_id!r} in {str(home)!r}{have}; see: agentevo runs list"
        )
    return directory


def run_directories(home: Path) -> Sequence[RunDirectory]:
    """Return the runs under `home`, newest first."""
    configs = (home.absolute() / "runs").glob("*/config.toml")
    return sorted((RunDirectory(each.parent) for each in configs), key=lambda d: d.id, reverse=True)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run depends on."""
    found = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
