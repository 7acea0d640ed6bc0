"""What the disk and SQLite say when something goes wrong, as errors of the memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentevo_memory.errors import (
    JournalDamagedError,
    MemoryStoreError,
    StoreBusyError,
    StoreReadOnlyError,
    StoreWriteError,
)

_ERRORS: dict[int, tuple[type[MemoryStoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreBusyError, "another process is writing; try again"),
    sqlite3.SQLITE_LOCKED: (StoreBusyError, "the store is locked; try again"),
    sqlite3.SQLITE_READONLY: (StoreReadOnlyError, "the disk or file is read-only"),
    sqlite3.SQLITE_FULL: (StoreWriteError, "the disk is full; free some space and try again"),
    sqlite3.SQLITE_IOERR: (StoreWriteError, "the disk reports an I/O error"),
    sqlite3.SQLITE_CANTOPEN: (StoreWriteError, "the file cannot be opened; check the path"),
    sqlite3.SQLITE_CORRUPT: (JournalDamagedError, "it is damaged; see `agentevo memory verify`"),
    sqlite3.SQLITE_NOTADB: (JournalDamagedError, "it is no SQLite database; restore a copy"),
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the disk into errors of the memory, naming the next step."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        kind, advice = _ERRORS.get(code, (JournalDamagedError, "see `agentevo memory verify`"))
        raise kind(f"{str(path)!r}: {error}; {advice}") from error
    except PermissionError as error:
        raise StoreReadOnlyError(f"{str(path)!r}: {error}; check the permissions") from error
    except OSError as error:
        if isinstance(error, MemoryStoreError):
            raise
        raise StoreWriteError(f"{str(path)!r}: {error}; nothing was stored") from error
