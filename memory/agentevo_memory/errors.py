"""The errors of the memory: one base, one type per thing a caller can do about it."""


class MemoryStoreError(Exception):
    """Base of every error of the memory. The message says what was given and the next step."""


class RecordError(MemoryStoreError, ValueError):
    """A record, query or option that the memory cannot accept; nothing was stored."""


class UnknownRecordError(MemoryStoreError, LookupError):
    """A record or operation id that the store does not hold."""


class EmbeddingError(MemoryStoreError, ValueError):
    """An embedding that is missing, not finite, or of the wrong dimension."""


class StoreBusyError(MemoryStoreError, RuntimeError):
    """Another process kept the store locked for longer than the waiting time."""


class StoreReadOnlyError(MemoryStoreError, PermissionError):
    """A write to a store that was opened for reading, or lies on a read-only disk."""


class StoreWriteError(MemoryStoreError, OSError):
    """The disk refused a write (full, I/O error); the operation had no effect."""


class SchemaVersionError(MemoryStoreError, RuntimeError):
    """The store was written by a newer release."""


class JournalDamagedError(MemoryStoreError, RuntimeError):
    """The journal is not what was written.

    Attributes:
        seq: First damaged event, or 0 where the file itself cannot be read.
    """

    def __init__(self, message: str, seq: int = 0) -> None:
        super().__init__(message)
        self.seq = seq


class IndexDamagedError(MemoryStoreError, RuntimeError):
    """An index file is not what was written; the index is rebuilt from the journal."""


class IndexUnavailableError(MemoryStoreError, ConnectionError):
    """The server that holds the index does not answer; the journal is not concerned."""


class IndexOwnedError(MemoryStoreError, RuntimeError):
    """Another process owns the index of this store."""
