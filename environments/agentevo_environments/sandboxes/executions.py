"""Executions by id: run once, answer later calls with the stored result."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from agentevo_environments.sandboxes.base import ExecResult

STORED_RESULTS = 4096


class Executions:
    """Results by execution id, for the life of a sandbox.

    A second call with an id waits while the first is running and then gets its result, marked
    `replayed`. When the machinery failed in the first call the id is free again. The oldest
    results are dropped beyond `limit`.

    Args:
        limit: Number of results kept.
    """

    def __init__(self, limit: int = STORED_RESULTS) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._futures: OrderedDict[str, Future[ExecResult]] = OrderedDict()

    def once(self, execution_id: str, run: Callable[[], ExecResult]) -> ExecResult:
        """Return the result of `run`, or the stored one of an earlier call with the same id.

        Args:
            execution_id: Identity; empty means: always run, store nothing.
            run: Does the execution. What it raises is passed on to everyone who waits.
        """
        if not execution_id:
            return run()
        with self._lock:
            earlier = self._futures.get(execution_id)
            if earlier is None:
                future: Future[ExecResult] = Future()
                self._futures[execution_id] = future
        if earlier is not None:
            return replace(earlier.result(), replayed=True)
        try:
            result = run()
        except BaseException as error:
            with self._lock:
                if self._futures.get(execution_id) is future:
                    del self._futures[execution_id]
            future.set_exception(error)
            raise
        future.set_result(result)
        self._drop_oldest()
        return result

    def clear(self) -> None:
        """Forget all results; executions that are running still answer those who wait."""
        with self._lock:
            self._futures.clear()

    def _drop_oldest(self) -> None:
        with self._lock:
            if len(self._futures) <= self._limit:
                return
            done = [key for key, future in self._futures.items() if future.done()]
            for key in done[: len(self._futures) - self._limit]:
                del self._futures[key]
