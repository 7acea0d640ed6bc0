"""One evolution, or one restoration, at a time in a home."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentevo.errors import RunInUseError
from agentevo.runs.lock import RunLock


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home for as long as the block takes.

    Raises:
        RunInUseError: Somebody else holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = RunLock(home / "evolution.lock")
    try:
        lock.__enter__()
    except RunInUseError:
        raise RunInUseError(
            f"another evolution works in {str(home)!r}; wait for it, or choose another --home"
        ) from None
    try:
        yield
    finally:
        lock.__exit__()
