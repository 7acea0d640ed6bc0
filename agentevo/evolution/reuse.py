"""What the runs of an evolution share, because making it anew costs time: sandboxes and vectors."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agentevo_environments.errors import SandboxError
from agentevo_environments.sandboxes.base import Containment, ExecResult, Program, Sandbox
from agentevo_memory.embedding.base import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_TEXTS = 4096


class SandboxPool:
    """Sandboxes that outlive a run: each is started once, and emptied before it is lent again.

    They are started by one thread that lives as long as the pool, since a sandbox may end with the
    thread that started it.

    Args:
        make: Makes a sandbox that is not started.
    """

    def __init__(self, make: Callable[[], Sandbox]) -> None:
        self._make = make
        self._free: list[Sandbox] = []
        self._guard = threading.Lock()
        self._starter = ThreadPoolExecutor(1, "sandboxes")

    def lend(self) -> Sandbox:
        """Return a sandbox; closing it gives it back."""
        return _Lent(self)

    def take(self) -> Sandbox:
        """Return a sandbox that is started and empty.

        Raises:
            SandboxUnavailableError: It cannot run here.
        """
        with self._guard:
            if self._free:
                return self._free.pop()
        sandbox = self._make()
        try:
            self._starter.submit(sandbox.start).result()
        except BaseException:
            sandbox.close()
            raise
        return sandbox

    def give_back(self, sandbox: Sandbox, *, sound: bool) -> None:
        """Take a sandbox back for the next run.

        One that is not sound is closed, and so are those that wait: they may have died with it.
        """
        if sound:
            with suppress(SandboxError):
                sandbox.reset()
                with self._guard:
                    self._free.append(sandbox)
                return
        sandbox.close()
        self._empty()

    def close(self) -> None:
        """Close all that were given back."""
        self._empty()
        self._starter.shutdown()

    def _empty(self) -> None:
        with self._guard:
            left, self._free = self._free, []
        for sandbox in left:
            with suppress(SandboxError):
                sandbox.close()


class _Lent(Sandbox):
    """A sandbox of a pool, from its start to its end in the hands of one environment."""

    def __init__(self, pool: SandboxPool) -> None:
        self._pool = pool
        self._inner: Sandbox | None = None
        self._sound = True

    @property
    def _started(self) -> Sandbox:
        if self._inner is None:
            raise SandboxError("the sandbox is not started; call start() first")
        return self._inner

    @property
    def containment(self) -> Containment:
        return self._started.containment

    def start(self) -> None:
        self._inner = self._pool.take()

    def exec(self, program: Program, **options: Any) -> ExecResult:
        try:
            return self._started.exec(program, **options)
        except SandboxError:
            self._sound = False
            raise

    def put(self, path: str, data: bytes) -> None:
        self._started.put(path, data)

    def get(self, path: str) -> bytes:
        return self._started.get(path)

    def workspace(self) -> Sequence[str]:
        return self._started.workspace()

    def reset(self) -> None:
        self._started.reset()

    def close(self) -> None:
        if self._inner is not None:
            inner, self._inner = self._inner, None
            self._pool.give_back(inner, sound=self._sound)


class KnownTexts:
    """An embedder that keeps the vectors of the latest texts: the same tasks are asked many times.

    Args:
        embedder: Computes what is not known.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, NDArray[np.float32]] = {}

    @property
    def model_id(self) -> str:
        """The embedder's."""
        return self._embedder.model_id

    @property
    def dimension(self) -> int:
        """The embedder's."""
        return self._embedder.dimension

    @property
    def languages(self) -> frozenset[str]:
        """The embedder's."""
        return self._embedder.languages

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one unit row per text.

        Raises:
            EmbeddingError: If the model cannot be loaded or run.
        """
        import numpy as np

        if len(texts) != 1:
            return self._embedder.embed(texts)
        row = self._known.get(texts[0])
        if row is None:
            row = self._embedder.embed(texts)[0]
            if len(self._known) >= MOST_TEXTS:
                self._known.clear()
            self._known[texts[0]] = row
        return np.stack([row])
