"""The one envelope of everything a run reports while it goes on.

Events are streamed to the caller and appended to `events.jsonl`; the same dictionary in both.
"""

import time
from typing import Any, TypedDict


class Event(TypedDict):
    """One thing that happened in a run.

    Attributes:
        type: `agentevo.<event>`, such as `agentevo.episode_finished`.
        time: Seconds since the epoch.
        run_id: The run.
        iteration: Round of the evolution; 0 outside one.
        episode_id: The episode, or "" for events of the whole run.
        data: What the event type defines; JSON values only.
    """

    type: str
    time: float
    run_id: str
    iteration: int
    episode_id: str
    data: dict[str, Any]


def make_event(
    name: str, run_id: str, data: dict[str, Any], *, episode_id: str = "", iteration: int = 0
) -> Event:
    """Return the event `agentevo.<name>`, stamped with the present time."""
    return Event(
        type=f"agentevo.{name}",
        time=time.time(),
        run_id=run_id,
        iteration=iteration,
        episode_id=episode_id,
        data=data,
    )
