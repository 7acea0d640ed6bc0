"""`Drain`: the request to stop soon, at the next step of every episode, leaving all resumable."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from langgraph.runtime import RunControl

Result = TypeVar("Result")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Drain:
    """Reaches every episode in progress. Safe for threads and signal handlers."""

    def __init__(self) -> None:
        self._requested = False
        self._controls: dict[int, RunControl] = {}

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self._requested

    def request(self, reason: str = "shutdown") -> None:
        """Ask every episode to stop at its next step, and let no new one start."""
        self._requested = True
        for control in list(self._controls.values()):
            control.request_drain(reason)

    @contextmanager
    def control(self) -> Iterator[RunControl]:
        """Give the control of one graph invocation, drained already if that was requested."""
        control = RunControl()
        self._controls[id(control)] = control
        try:
            if self._requested:
                control.request_drain()
            yield control
        finally:
            del self._controls[id(control)]


@contextmanager
def drain_on_signals(drain: Drain) -> Iterator[None]:
    """Let SIGINT and SIGTERM request the drain, and a second one end the process as usual.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def request(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        drain.request(signal.Signals(number).name)

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


async def drained_when_cancelled(drain: Drain, work: Callable[[], Result]) -> Result:
    """Do `work` in a thread; when the caller is cancelled, drain it and wait until it has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        drain.request("cancelled")
        await asyncio.wait([task])
        raise
