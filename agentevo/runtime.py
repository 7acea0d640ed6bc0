"""The composition root: settings become environments, sandboxes, models and one durable run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.events import Event
from agentevo.runs.report import EpisodeResult, Failure, RunReport

__all__ = ["EpisodeResult", "Failure", "RunReport", "arun", "aresume", "list_runs", "load_report"]

OnEvent = Callable[[Event], None]


def run(settings: Settings, *, on_event: OnEvent | None = None) -> RunReport:
    """Run the episodes that `settings` describe, in a new run directory under `settings.home`.

    SIGINT and SIGTERM (in the main thread) drain the run: steps in progress are finished and
    checkpointed, and the report comes back with status "stopped". A second signal ends at once.

    Args:
        settings: What to run.
        on_event: Called with every event, one at a time, from worker threads.

    Returns:
        The report, with status "finished" or "stopped".

    Raises:
        UnknownModelError: The model does not exist, or its package or key is missing.
        RunError: The run cannot start or cannot be written; the message says how to go on.
        EnvironmentsError: The environment, its tasks or the sandbox cannot start.
    """
    raise RunError("not here yet")


async def arun(settings: Settings, *, on_event: OnEvent | None = None) -> RunReport:
    """Like `run`; cancelling the task drains the run, which stays resumable."""
    raise RunError("not here yet")


def resume(home: Path, run_id: str, *, on_event: OnEvent | None = None) -> RunReport:
    """Continue a run that was stopped or killed; a finished run returns its report.

    Raises:
        RunInUseError: Another process is working on the run.
        RunError: There is no such run, or its tasks have changed.
    """
    raise RunError("not here yet")


async def aresume(home: Path, run_id: str, *, on_event: OnEvent | None = None) -> RunReport:
    """Like `resume`; cancelling the task drains the run, which stays resumable."""
    raise RunError("not here yet")


def list_runs(home: Path) -> Sequence[RunReport]:
    """Return the reports of all runs under `home`, newest first."""
    raise RunError("not here yet")


def load_report(home: Path, run_id: str) -> RunReport:
    """Return the report of a run, of an unfinished one as far as it has come.

    Raises:
        RunError: There is no such run; the message names the nearest ids.
    """
    raise RunError("not here yet")
