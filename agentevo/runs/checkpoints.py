"""The database of a run: LangGraph's checkpoints, and the ledger of what is finished.

Both share one connection, so that concurrent episodes queue for it instead of polling for
SQLite's write lock. Only plain values and LangChain messages are ever rebuilt from it.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from agentevo.errors import RunError
from agentevo.runs.report import EpisodeResult

_BUSY_TIMEOUT_MS = 30_000
_TABLES = """
CREATE TABLE IF NOT EXISTS outcomes (
    episode_id TEXT PRIMARY KEY, recorded_at REAL NOT NULL, result TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class _Writes:
    """What a task wrote: the arguments of `put_writes`."""

    config: RunnableConfig
    writes: Sequence[tuple[str, Any]]
    task_id: str
    task_path: str


class RunSaver(SqliteSaver):
    """LangGraph's SQLite saver with one transaction per step.

    What the tasks of a step wrote is held until the checkpoint that follows it and is stored with
    that, all or nothing, so a killed process does its last step again as if it had died a moment
    earlier. Of these writes only those are stored that the checkpoint does not repeat (messages).
    Interrupts and errors are stored at once, with all that is held. After a failed write the saver
    refuses further ones.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._serial = threading.RLock()
        self._depth = 0
        self._holding = threading.Lock()
        self._held: dict[tuple[str, str], list[_Writes]] = {}
        self._broken: sqlite3.Error | None = None

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Give a cursor. The outermost of a thread commits at its end, and rolls back errors."""
        with self._serial:
            if self._broken is not None:
                raise sqlite3.OperationalError(f"after an earlier failure: {self._broken}")
            self._depth += 1
            try:
                self.setup()
                with closing(self.conn.cursor()) as cursor:
                    yield cursor
                if transaction and self._depth == 1:
                    self.conn.commit()
            except BaseException as error:
                self._broken = error if isinstance(error, sqlite3.Error) else None
                self.conn.rollback()
                raise
            finally:
                self._depth -= 1

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with what its tasks wrote."""
        self._store_held(_thread(config))
        return super().get_tuple(config)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint, and with it what the step before it wrote."""
        with self.cursor():
            self._store_held(_thread(config), before=config, repeated=checkpoint["channel_values"])
            return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Hold what a task wrote; store it at once if there are interrupts, errors or the like."""
        held = _Writes(config, writes, task_id, task_path)
        with self._holding:
            self._held.setdefault(_thread(config), []).append(held)
        if any(channel in WRITES_IDX_MAP for channel, _ in writes):
            self._store_held(_thread(config))

    def flush(self) -> None:
        """Store all that is held, which is something only when a graph was interrupted."""
        for thread in list(self._held):
            self._store_held(thread)

    def _store_held(
        self,
        thread: tuple[str, str],
        *,
        before: RunnableConfig | None = None,
        repeated: Container[str] = (),
    ) -> None:
        """Store what is held; without channels in `repeated` if it belongs to `before`."""
        with self.cursor():
            with self._holding:
                taken = self._held.pop(thread, ())
            for held in taken:
                writes = held.writes
                if before is not None and get_checkpoint_id(before) == get_checkpoint_id(
                    held.config
                ):
                    writes = [write for write in writes if write[0] not in repeated]
                if writes:
                    super().put_writes(held.config, writes, held.task_id, held.task_path)


class Ledger:
    """What is finished and what is known of a run: the truth that a resumed run goes by.

    An episode is done if and only if its outcome is here; the first outcome stays.
    """

    def __init__(self, saver: SqliteSaver) -> None:
        self._saver = saver
        with saver.cursor() as cursor:
            cursor.executescript(_TABLES)

    def record(self, result: EpisodeResult) -> bool:
        """Keep an outcome durably; return whether it is the episode's first."""
        row = (result.episode_id, time.time(), json.dumps(result.to_json()))
        with self._saver.cursor() as cursor:
            cursor.execute("INSERT OR IGNORE INTO outcomes VALUES (?, ?, ?)", row)
            return cursor.rowcount == 1

    def outcomes(self) -> dict[str, EpisodeResult]:
        """Return the outcomes by episode id."""
        with self._saver.cursor(transaction=False) as cursor:
            rows = cursor.execute("SELECT episode_id, result FROM outcomes").fetchall()
        return {episode_id: EpisodeResult.from_json(json.loads(row)) for episode_id, row in rows}

    def remember(self, name: str, value: Any) -> None:
        """Keep a fact of the run (JSON values), replacing an earlier one of the same name."""
        with self._saver.cursor() as cursor:
            cursor.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def fact(self, name: str, default: Any = None) -> Any:
        """Return a fact of the run."""
        with self._saver.cursor(transaction=False) as cursor:
            row = cursor.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])


@contextmanager
def open_checkpoints(
    path: Path, *, synchronous: Literal["FULL", "NORMAL"] = "FULL"
) -> Iterator[SqliteSaver]:
    """Open the database of a run: WAL, a busy timeout, strict deserialisation.

    Args:
        path: The file; made when absent.
        synchronous: FULL survives a power cut, NORMAL a killed process.

    Raises:
        RunError: For any error of SQLite inside the block, such as a full disk.
    """
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS:d}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={synchronous}")
            saver = RunSaver(connection)
            yield saver
            saver.flush()
    except sqlite3.Error as error:
        raise RunError(
            f"cannot use {str(path)!r}: {error}; what was recorded so far is kept. When the cause "
            "is gone (a full disk: make room), continue with: "
            f"agentevo resume {path.parent.name}"
        ) from error


@contextmanager
def read_ledger(path: Path) -> Iterator[Ledger]:
    """Open the ledger of a run that another process may be writing."""
    with open_checkpoints(path) as saver:
        yield Ledger(saver)


def _thread(config: RunnableConfig) -> tuple[str, str]:
    """Return the thread and the namespace of a configuration."""
    chosen = config["configurable"]
    return str(chosen["thread_id"]), str(chosen.get("checkpoint_ns", ""))
