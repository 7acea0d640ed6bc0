"""`Executor`: many jobs on a bounded number of workers, each with its own live parts."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from agentevo.runs.drain import Drain

Job = TypeVar("Job")
Result = TypeVar("Result")
OpenWorker: TypeAlias = Callable[[], AbstractContextManager[Callable[[Job], Result]]]


class Executor(Protocol):
    """Does jobs concurrently. A worker is opened once, does many jobs, and is closed."""

    def run(
        self, open_worker: OpenWorker[Job, Result], jobs: Sequence[Job], drain: Drain
    ) -> Iterator[Result]:
        """Yield the results as they come, in any order; each job is done at most once.

        When a job raises, no further job is started, those in progress come to their end, and the
        error is raised. When the drain is requested, no further job is started.
        """
        ...


class ThreadExecutor:
    """Workers are threads of this process.

    Args:
        concurrency: Most jobs at the same time, at least 1.
    """

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency

    def run(
        self, open_worker: OpenWorker[Job, Result], jobs: Sequence[Job], drain: Drain
    ) -> Iterator[Result]:
        """Yield the results as they come; see `Executor.run`."""
        waiting: SimpleQueue[Job] = SimpleQueue()
        for job in jobs:
            waiting.put(job)
        ready: SimpleQueue[_Done[Result] | _Ended] = SimpleQueue()
        threads = [
            threading.Thread(target=_work, args=(open_worker, waiting, ready, drain), daemon=True)
            for _ in range(min(self._concurrency, len(jobs)))
        ]
        for thread in threads:
            thread.start()
        yield from _collect(ready, len(threads), drain)
        for thread in threads:
            thread.join()


class _Done(tuple[Result]):
    """A result on its way to the caller."""


class _Ended:
    """The end of a worker, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def _work(
    open_worker: OpenWorker[Job, Result],
    waiting: "SimpleQueue[Job]",
    ready: "SimpleQueue[_Done[Result] | _Ended]",
    drain: Drain,
) -> None:
    error: BaseException | None = None
    try:
        with open_worker() as work:
            while not drain.requested:
                try:
                    job = waiting.get_nowait()
                except Empty:
                    break
                ready.put(_Done((work(job),)))
    except BaseException as caught:  # noqa: BLE001 (raised again where the results are collected)
        drain.request("a worker failed")
        error = caught
    finally:
        ready.put(_Ended(error))


def _collect(
    ready: "SimpleQueue[_Done[Result] | _Ended]", workers: int, drain: Drain
) -> Iterator[Result]:
    first_error: BaseException | None = None
    try:
        while workers:
            entry = ready.get()
            if isinstance(entry, _Ended):
                workers -= 1
                first_error = first_error or entry.error
            else:
                yield entry[0]
    finally:
        drain.request("the caller has ended")
    if first_error is not None:
        raise first_error
