"""Branches: a copy of a store to change freely, and the store that takes over what the copy became.

A branch continues the hash chain of its store. Taking it over appends exactly its further events, in
one transaction, and only if the store has not moved on meanwhile.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from agentevo_memory.disk import storage_errors
from agentevo_memory.errors import RecordError
from agentevo_memory.journal import BUSY_S, FILE_NAME, Journal

_TAKE_OVER = (
    "INSERT INTO event SELECT * FROM branch.event WHERE seq>:base",
    "INSERT OR REPLACE INTO record SELECT * FROM branch.record WHERE id IN"
    " (SELECT record_id FROM branch.event WHERE seq>:base)",
    "INSERT OR IGNORE INTO edge SELECT * FROM branch.edge WHERE seq>:base",
    "INSERT OR REPLACE INTO vector SELECT * FROM branch.vector WHERE rid IN (SELECT rid FROM"
    " branch.record WHERE id IN (SELECT record_id FROM branch.event WHERE seq>:base))",
    "INSERT OR IGNORE INTO idempotency SELECT * FROM branch.idempotency",
    "INSERT OR REPLACE INTO meta SELECT * FROM branch.meta",
)


class BranchError(RecordError):
    """A branch that does not continue the store; nothing was taken over."""


def position(folder: Path) -> tuple[int, str]:
    """Return sequence number and chain hash (hex) of the last event; (0, "") for an empty store."""
    with storage_errors(folder / FILE_NAME), closing(_open(folder)) as db:
        row = db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        return (int(row[0]), bytes(row[1]).hex()) if row else (0, "")


def fork(folder: Path, branch: Path) -> tuple[int, str]:
    """Copy the store in `folder` to `branch`, which is replaced, and return its position.

    The copy is one consistent state even while others write. Index caches are not copied.
    """
    shutil.rmtree(branch, ignore_errors=True)
    branch.mkdir(parents=True)
    with (
        storage_errors(branch / FILE_NAME),
        closing(_open(folder)) as source,
        closing(sqlite3.connect(branch / FILE_NAME)) as target,
    ):
        source.backup(target)
    return position(branch)


def take_over(folder: Path, branch: Path) -> int:
    """Append what happened in `branch` to the store in `folder`; returns the number of events.

    A second call finds nothing left to do and returns 0.

    Raises:
        BranchError: The store was changed since the branch was made, or the branch erased
            something; nothing was taken over.
    """
    uri = (branch / FILE_NAME).absolute().as_uri()
    with storage_errors(folder / FILE_NAME), closing(_open(folder)) as db:
        db.execute("ATTACH DATABASE ? AS branch", (f"{uri}?mode=ro",))
        db.execute("BEGIN IMMEDIATE")
        try:
            base = _common_end(db, folder)
            taken = db.execute("SELECT count(*) FROM branch.event WHERE seq>?", (base,)).fetchone()
            for statement in _TAKE_OVER if taken[0] else ():
                db.execute(statement, {"base": base} if ":base" in statement else {})
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return int(taken[0])


def _common_end(db: sqlite3.Connection, folder: Path) -> int:
    last = db.execute("SELECT seq, hash FROM main.event ORDER BY seq DESC LIMIT 1").fetchone()
    base, digest = last or (0, None)
    same = db.execute("SELECT hash FROM branch.event WHERE seq=?", (base,)).fetchone()
    if base and (same is None or same[0] != digest):
        raise BranchError(
            f"the memory in {str(folder)!r} was changed at event {base} after the branch was made; "
            "make a new branch of it"
        )
    if db.execute("SELECT 1 FROM branch.event WHERE seq>? AND op='erase'", (base,)).fetchone():
        raise BranchError("the branch erased records; erase them in the store itself instead")
    return int(base)


def _open(folder: Path) -> sqlite3.Connection:
    Journal(folder).close()
    return sqlite3.connect(
        (folder / FILE_NAME).absolute().as_uri(), uri=True, timeout=BUSY_S, isolation_level=None
    )
