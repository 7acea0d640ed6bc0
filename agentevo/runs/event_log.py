"""`EventLog`: the events of a run, one JSON object per line, appended whole or not at all.

A killed process can leave a torn last line; opening the log cuts it off. Events are written at
least once: a step that is done again after a kill appears again.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from agentevo.errors import RunError
from agentevo.events import Event

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class EventLog:
    """Appends events to a file and passes each on to a listener. Safe for threads.

    Args:
        path: The file; made when absent.
        on_event: Called with every event after it was written, one at a time.
    """

    def __init__(self, path: Path, on_event: Callable[[Event], None] | None = None) -> None:
        self._path = path
        self._on_event = on_event
        self._lock = threading.Lock()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._size = _repair(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def append(self, event: Event, *, tell: bool = True) -> None:
        """Write an event, then pass it on to the listener unless `tell` is false.

        Raises:
            RunError: The file cannot be written (a full disk); it holds whole lines only.
        """
        line = _encode(event).encode() + b"\n"
        with self._lock:
            try:
                written = os.write(self._descriptor, line)
                if written < len(line):
                    os.ftruncate(self._descriptor, self._size)
                    raise OSError(f"no space left: only {written} of {len(line)} bytes fit")
            except OSError as error:
                raise self._cannot_write(error) from error
            self._size += len(line)
            if tell and self._on_event is not None:
                self._on_event(event)

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a later event is refused."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _cannot_write(self, error: OSError) -> RunError:
        reason = error.strerror or str(error)
        return RunError(
            f"cannot write {str(self._path)!r}: {reason}; nothing recorded so far is lost: make "
            f"room, then continue with: agentevo resume {self._path.parent.name}"
        )


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a log in order, without a torn last line."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _repair(descriptor: int) -> int:
    """Cut off a torn last line; return the size of what remains, 0 for what is no regular file."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end
