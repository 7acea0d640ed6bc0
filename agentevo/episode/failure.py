"""Isolation of an episode's parts: what breaks inside one becomes a typed failure in its state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from langgraph.errors import GraphBubbleUp

from agentevo.episode.state import FailureState
from agentevo_environments.errors import SandboxError, SandboxUnavailableError

Part = Literal["model", "environment", "memory"]
MACHINERY = frozenset({"model", "sandbox", "environment", "memory"})
_LONGEST = 2000


@contextmanager
def recorded_failures(update: dict[str, Any], part: Part) -> Iterator[None]:
    """Record any error of the block as `update["failure"]`; the episode then goes to its grade.

    This is the one place where a broken model, sandbox, environment or memory turns into data.
    Interrupts and drain requests of the graph pass through, and so does a sandbox that cannot
    start on this machine at all: no episode could do better.
    """
    try:
        yield
    except (GraphBubbleUp, SandboxUnavailableError):
        raise
    except SandboxError as error:
        update["failure"] = failure("sandbox", error)
    except Exception as error:  # noqa: BLE001 (node isolation, see the docstring)
        update["failure"] = failure(part, error)


def failure(kind: str, cause: BaseException | str) -> FailureState:
    """Return a failure of type `kind`, its message bounded in size."""
    text = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
    return FailureState(type=kind, message=text[:_LONGEST])


def is_broken(failure: FailureState | None) -> bool:
    """Return whether part of the machinery failed, as opposed to a budget that ran out."""
    return failure is not None and failure["type"] in MACHINERY
