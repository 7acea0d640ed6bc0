"""A distillation as a durable job: planned, trained, checked and registered, or resumed.

A job is a folder: `plan.json` (base, settings, lineage), `rows.jsonl` (the exact rows), `checkpoint.pt`
and, at the end, `report.json`. A kill at any moment leaves a job that `resume` continues; the adapter
that is served does not change until somebody activates the new one.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from agentevo.distillation.base_model import load_base
from agentevo.distillation.dataset import Dataset
from agentevo.distillation.publish import Origin, publish
from agentevo.distillation.registry import Adapter, AdapterRegistry, sha256_of
from agentevo.distillation.rows import Row, read_rows, write_rows
from agentevo.distillation.settings import TrainSettings
from agentevo.distillation.trainer import Progress, train
from agentevo.errors import AdapterError

JobStatus = Literal["planned", "interrupted", "finished"]
_FILE_LIMIT_NOTE = "free some space and resume; the adapter that is served has not changed"


@dataclass(frozen=True, slots=True)
class Job:
    """One distillation.

    Attributes:
        folder: Its files.
        base: The base model file or folder.
        base_sha256: Its hash when the job was planned; "" for folders.
        settings: Every number of the training.
        rule_ids: The rules it teaches.
        record_ids: Every record in the lineage of its rows.
    """

    folder: Path
    base: Path
    base_sha256: str
    settings: TrainSettings
    rule_ids: tuple[str, ...]
    record_ids: tuple[str, ...]

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def status(self) -> JobStatus:
        """How far it came."""
        if (self.folder / "report.json").is_file():
            return "finished"
        return "interrupted" if (self.folder / "checkpoint.pt").is_file() else "planned"

    def rows(self) -> Sequence[Row]:
        """Return the exact training rows."""
        return read_rows(self.folder / "rows.jsonl")

    def report(self) -> dict[str, Any]:
        """Return what the finished job measured; empty before."""
        path = self.folder / "report.json"
        value: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return value


def plan_job(
    root: Path, base: Path, dataset: Dataset, settings: TrainSettings, *, label: str = ""
) -> Job:
    """Write down a job without training anything.

    Args:
        root: Folder of all jobs.
        base: The base model that is served.
        dataset: What to learn.
        settings: How.
        label: Its id; by default the time and a random part.
    """
    folder = root / (label or time.strftime(f"%Y%m%d-%H%M%S-{os.urandom(3).hex()}"))
    folder.mkdir(parents=True, exist_ok=bool(label))
    write_rows(folder / "rows.jsonl", dataset.rows)
    job = Job(
        folder=folder,
        base=base.absolute(),
        base_sha256=sha256_of(base) if base.is_file() else "",
        settings=settings.for_rows(dataset.rows),
        rule_ids=dataset.rule_ids,
        record_ids=dataset.record_ids(),
    )
    content = asdict(job) | {"folder": folder.name, "base": str(job.base)}
    _write_json(folder / "plan.json", content)
    return job


def open_job(root: Path, name: str) -> Job:
    """Return the job whose id is or starts with `name`.

    Raises:
        AdapterError: None or several match, or its plan is damaged.
    """
    known = list_jobs(root)
    matches = [job for job in known if name and job.startswith(name)]
    matches = [name] if name in matches else matches
    if len(matches) != 1:
        listing = ", ".join(known) or "none; start one with `agentevo distill run`"
        raise AdapterError(f"{name!r} names {len(matches)} distillations; known: {listing}")
    folder = root / matches[0]
    try:
        value = json.loads((folder / "plan.json").read_text())
        return Job(
            folder=folder,
            base=Path(value["base"]),
            base_sha256=value["base_sha256"],
            settings=TrainSettings(**value["settings"]),
            rule_ids=tuple(value["rule_ids"]),
            record_ids=tuple(value["record_ids"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"distillation {matches[0]} has no whole plan: {error}") from error


def list_jobs(root: Path) -> list[str]:
    """Return the ids of all jobs, oldest first."""
    return sorted(path.parent.name for path in root.glob("*/plan.json"))


def run_job(
    job: Job, registry: AdapterRegistry, *, on_step: Callable[[Progress], None] | None = None
) -> Adapter:
    """Train, check and register the adapter of a job; continues where it was interrupted.

    Raises:
        AdapterError: The base has changed since the plan, the training broke, or llama.cpp
            disagrees with the result; nothing is registered then.
    """
    if job.status == "finished":
        return registry.get(str(job.report()["adapter_id"]))
    if job.base_sha256 and (not job.base.is_file() or sha256_of(job.base) != job.base_sha256):
        raise AdapterError(
            f"the base model {job.base} is not the one that the rows were made for; "
            "plan the distillation again"
        )
    try:
        adapter, history = _train(job, registry, on_step)
    except (OSError, sqlite3.OperationalError) as error:
        raise AdapterError(f"{error}; {_FILE_LIMIT_NOTE}") from error
    _write_json(
        job.folder / "report.json",
        {
            "adapter_id": adapter.id,
            "metrics": adapter.manifest.metrics,
            "history": [asdict(step) for step in history],
        },
    )
    (job.folder / "checkpoint.pt").unlink(missing_ok=True)
    return adapter


def _train(
    job: Job, registry: AdapterRegistry, on_step: Callable[[Progress], None] | None
) -> tuple[Adapter, Sequence[Progress]]:
    rows, base = job.rows(), load_base(job.base, device=job.settings.device)
    trained = train(
        base, rows, job.settings, checkpoint=job.folder / "checkpoint.pt", on_step=on_step
    )
    origin = Origin(
        method=job.settings.method,
        rule_ids=job.rule_ids,
        record_ids=job.record_ids,
        settings=asdict(trained.settings),
        metrics={
            "seconds": sum(step.seconds for step in trained.history),
            "losses": trained.history[-1].losses,
        },
    )
    return publish(trained.model, base, registry, origin, rows), trained.history


def _write_json(path: Path, value: object) -> None:
    staged = path.with_suffix(".tmp")
    staged.write_text(json.dumps(value, indent=1))
    staged.replace(path)
