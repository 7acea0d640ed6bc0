"""Jobs are done once on a bounded number of workers, and errors come back."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agentevo.runs.drain import Drain, drain_on_signals
from agentevo.runs.executor import ThreadExecutor


class Pool:
    """Counts open workers and jobs at the same time."""

    def __init__(self) -> None:
        self.open = self.opened = self.most = self.busy = 0
        self.lock = threading.Lock()

    @contextmanager
    def worker(self) -> Iterator[Callable[[int], int]]:
        with self.lock:
            self.open, self.opened = self.open + 1, self.opened + 1
        yield self.double
        with self.lock:
            self.open -= 1

    def double(self, number: int) -> int:
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        time.sleep(0.001)
        with self.lock:
            self.busy -= 1
        if number < 0:
            raise ValueError(f"no {number}")
        return 2 * number


def test_every_job_is_done_once_by_few_workers() -> None:
    pool = Pool()
    results = list(ThreadExecutor(3).run(pool.worker, range(50), Drain()))
    assert sorted(results) == [2 * number for number in range(50)]
    assert (pool.opened, pool.open) == (3, 0)
    assert pool.most <= 3


def test_a_second_signal_ends_the_process_as_usual() -> None:
    before = signal.getsignal(signal.SIGINT)
    drain = Drain()
    with drain_on_signals(drain), drain.control() as control:
        signal.raise_signal(signal.SIGINT)
        assert (drain.requested, control.drain_reason) == (True, "SIGINT")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_no_more_workers_than_jobs() -> None:
    pool = Pool()
    assert list(ThreadExecutor(8).run(pool.worker, [1], Drain())) == [2]
    assert list(ThreadExecutor(8).run(pool.worker, [], Drain())) == []
    assert pool.opened == 1


def test_an_error_ends_the_work_and_is_raised() -> None:
    pool, drain = Pool(), Drain()
    done: list[int] = []
    with pytest.raises(ValueError, match="no -1"):
        done.extend(ThreadExecutor(2).run(pool.worker, [1, -1, *range(1000)], drain))
    assert len(done) < 1000


def test_a_drain_lets_no_new_job_start() -> None:
    pool, drain = Pool(), Drain()
    results = ThreadExecutor(2).run(pool.worker, range(100_000), drain)
    next(results)
    drain.request()
    assert len(list(results)) < 50_000
    assert pool.open == 0
