"""Containers in stock: reused from execution to execution, or made ahead and used once."""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

from agentevo_environments.errors import SandboxDiedError, SandboxError
from agentevo_environments.sandboxes.docker.container import Container
from agentevo_environments.sandboxes.docker.creation import Shape

MakeContainer = Callable[[Shape], Container]


class Stock(ABC):
    """Lends containers, each to one user at a time.

    Args:
        make: Makes a started container; called from several threads.
        size: Largest number of containers in use at the same time; further users wait.
    """

    def __init__(self, make: MakeContainer, *, size: int) -> None:
        self._make = make
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def lend(self, shape: Shape) -> Iterator[Container]:
        """Lend a container of a shape; one that breaks while it is lent is removed.

        Raises:
            SandboxDiedError: The stock is closed.
            SandboxUnavailableError: No container can be made.
        """
        with self._free:
            if self._closed:
                raise SandboxDiedError(
                    "the sandbox is closed or was never started: start a new one"
                )
            container = self._take(shape)
            try:
                yield container
            except BaseException:
                container.close()
                raise
            self._give_back(container)

    @abstractmethod
    def prepare(self, shape: Shape) -> None:
        """Have a container of a shape ready.

        Raises:
            SandboxUnavailableError: It cannot be made.
        """

    @abstractmethod
    def _take(self, shape: Shape) -> Container:
        """Return a container that nobody else has."""

    @abstractmethod
    def _give_back(self, container: Container) -> None:
        """Take a working container back."""

    @abstractmethod
    def close(self) -> None:
        """Remove all containers that are not lent, and the lent ones when they come back."""


class ReusedContainers(Stock):
    """Keeps containers for the next execution; executions are kept apart by their users."""

    def __init__(self, make: MakeContainer, *, size: int) -> None:
        super().__init__(make, size=size)
        self._idle: list[Container] = []

    def prepare(self, shape: Shape) -> None:
        """Make a container and keep it."""
        with self.lend(shape):
            pass

    def _take(self, shape: Shape) -> Container:
        with self._lock:
            expired = [one for one in self._idle if one.expires < time.monotonic()]
            usable = [one for one in self._idle if one not in expired and one.shape == shape]
            taken = usable[-1:]
            self._idle = [one for one in self._idle if one not in expired + taken]
        for container in expired:
            container.close()
        return taken[0] if taken else self._make(shape)

    def _give_back(self, container: Container) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(container)
            surplus = [container] if self._closed else self._idle[: -self._size]
            self._idle = [one for one in self._idle if one not in surplus]
        for one in surplus:
            one.close()

    def close(self) -> None:
        """Remove the containers that are not lent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for container in idle:
            container.close()


class SingleUseContainers(Stock):
    """Keeps some unused containers ready and removes each after one execution.

    Args:
        make: Makes a started container.
        size: Largest number of containers in use at the same time.
        spare: How many unused containers are kept ready, of the shape last asked for.
    """

    def __init__(self, make: MakeContainer, *, size: int, spare: int) -> None:
        super().__init__(make, size=size)
        self._spare = spare
        self._shape: Shape | None = None
        self._coming: deque[Future[Container]] = deque()
        self._workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="agentevo-stock")

    def prepare(self, shape: Shape) -> None:
        """Begin to make the spare containers, and wait for the first."""
        with self._lock:
            self._shape = shape
            self._restock()
            first = self._coming[0] if self._coming else None
        if first is not None:
            first.result()

    def _restock(self) -> None:
        while not self._closed and self._shape and len(self._coming) < self._spare:
            self._coming.append(self._workers.submit(self._make, self._shape))

    def _take(self, shape: Shape) -> Container:
        with self._lock:
            if shape != self._shape:
                self._discard_all()
                self._shape = shape
            next_one = self._coming.popleft() if self._coming else None
        container = next_one.result() if next_one else self._make(shape)
        with self._lock:
            self._restock()
        return container

    def _give_back(self, container: Container) -> None:
        with self._lock:
            if not self._closed:
                self._workers.submit(container.close)
                return
        container.close()

    def _discard_all(self) -> None:
        while self._coming:
            self._coming.popleft().add_done_callback(_close_made)

    def close(self) -> None:
        """Remove the spare containers, and wait until all removals are done."""
        with self._lock:
            self._closed = True
            self._discard_all()
        self._workers.shutdown(wait=True)


def _close_made(made: Future[Container]) -> None:
    with suppress(SandboxError):
        made.result().close()
