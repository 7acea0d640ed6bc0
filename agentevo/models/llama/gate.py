"""`Gate`: many decode at once, one changes the set of loaded adapters.

llama.cpp walks a model's adapters while it plans a batch, so loading or freeing one must never
overlap with a decode of any context over that model.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """A lock with shared and exclusive holders; a waiting exclusive holder goes first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._sharing = 0
        self._waiting = 0
        self._exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold together with other shared holders."""
        with self._condition:
            self._condition.wait_for(lambda: not self._exclusive and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._condition:
                self._sharing -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold alone."""
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._exclusive and not self._sharing)
            self._waiting -= 1
            self._exclusive = True
        try:
            yield
        finally:
            with self._condition:
                self._exclusive = False
                self._condition.notify_all()
