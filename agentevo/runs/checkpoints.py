"""The database of a run: LangGraph's checkpoints, and the ledger of what is finished.

Both share one connection, so that concurrent episodes queue for it instead of polling for
SQLite's write lock. Only plain values and LangChain messages are ever rebuilt from it.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP
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


class RunSaver(SqliteSaver):
    """LangGraph's SQLite saver with one flush per step instead of two.

    What a step wrote is kept until the checkpoint that follows it, and committed with that. A
    process that dies in between does the step again, as if it had died a moment earlier. After a
    failed write the saver refuses further ones, so that no checkpoint can be stored without the
    writes that it builds on.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._deferring = threading.local()
        self._broken: sqlite3.Error | None = None

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Give a cursor; commit at the end, except for the writes of a step."""
        if self._broken is not None:
            raise sqlite3.OperationalError(f"after an earlier failure: {self._broken}")
        try:
            commit = transaction and not getattr(self._deferring, "on", False)
            with super().cursor(transaction=commit) as cursor:
                yield cursor
        except sqlite3.Error as error:
            self._broken = error
            raise

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Keep what a task wrote; durable at once only for interrupts, errors and the like."""
        self._deferring.on = not any(channel in WRITES_IDX_MAP for channel, _ in writes)
        try:
            super().put_writes(config, writes, task_id, task_path)
        finally:
            self._deferring.on = False


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
            yield RunSaver(connection)
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
