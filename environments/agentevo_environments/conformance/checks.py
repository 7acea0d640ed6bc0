"""Checks: how the checks of a contract fail, and how all of them are run at once."""

from collections.abc import Callable, Mapping
from typing import TypeVar

Factory = TypeVar("Factory")


class ConformanceError(AssertionError):
    """An implementation breaks its contract; the message says which part, and where."""


def require(holds: bool, message: str) -> None:
    """Raise ConformanceError when something does not hold."""
    if not holds:
        raise ConformanceError(message)


def run_checks(checks: Mapping[str, Callable[[Factory], None]], factory: Factory) -> None:
    """Run every check on what `factory` makes.

    Raises:
        ConformanceError: Checks failed; the message names each and says why.
    """
    failures: list[str] = []
    for name, check in checks.items():
        try:
            check(factory)
        except ConformanceError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise ConformanceError("\n".join(failures))
