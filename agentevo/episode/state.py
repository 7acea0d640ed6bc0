"""`EpisodeState`: what a checkpoint of an episode holds, msgpack-safe values only.

Messages are kept as differences: a checkpoint stores those of its own step, and only one in
two hundred stores all, so that a long episode grows with its length instead of its square.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.channels import DeltaChannel

from agentevo_environments.task import JSONValue, Task

_SNAPSHOT_EVERY = 200


def append_messages(
    messages: Sequence[AnyMessage], updates: Sequence[Sequence[AnyMessage]]
) -> list[AnyMessage]:
    """Return `messages` with all updates appended, in order."""
    return [*messages, *(message for update in updates for message in update)]


class FailureState(TypedDict):
    """What broke or ran out: `type` is model, sandbox, environment, memory or budget."""

    type: str
    message: str


class GradeState(TypedDict):
    """The environment's verdict, as `Grade`."""

    score: float
    solved: bool
    detail: str


class Usage(TypedDict):
    """What the episode has used so far.

    Attributes:
        input_tokens: Tokens read by the model.
        output_tokens: Tokens written by the model.
        model_s: Seconds in the model.
        environment_s: Seconds in the environment, its sandbox included.
        active_s: Seconds of work, pauses between processes left out.
        graph_steps: Steps of the graph.
    """

    input_tokens: int
    output_tokens: int
    model_s: float
    environment_s: float
    active_s: float
    graph_steps: int


class EpisodeInput(TypedDict):
    """What an episode starts from; `new_episode` makes it.

    Attributes:
        episode_id: Unique over all runs.
        task: The task, as a plain dictionary.
    """

    episode_id: str
    task: dict[str, Any]


class EpisodeState(EpisodeInput, total=False):
    """One episode between two steps.

    Attributes:
        messages: The conversation, system prompt first.
        recalled: Ids and scores of the memory records in the prompt.
        actions: Actions done so far, refused ones included.
        done: Whether the environment has ended the episode.
        nudged: Whether the agent was reminded to use its tools.
        snapshot: State of the environment after the last action; None where it has none.
        usage: What was used.
        failure: What broke or ran out.
        grade: The verdict; present once the episode is over.
    """

    messages: Annotated[
        list[AnyMessage], DeltaChannel(append_messages, snapshot_frequency=_SNAPSHOT_EVERY)
    ]
    recalled: list[dict[str, Any]]
    actions: int
    done: bool
    nudged: bool
    snapshot: JSONValue
    usage: Usage
    failure: FailureState | None
    grade: GradeState


class EpisodeOutput(TypedDict, total=False):
    """What an episode leaves: the fields of `EpisodeState` that a caller needs."""

    episode_id: str
    grade: GradeState
    failure: FailureState | None
    actions: int
    usage: Usage
    recalled: list[dict[str, Any]]


def new_episode(episode_id: str, task: Task) -> EpisodeInput:
    """Return the input that starts an episode of `task`."""
    return EpisodeInput(episode_id=episode_id, task={**asdict(task), "data": dict(task.data)})


def task_of(state: Mapping[str, Any]) -> Task:
    """Return the task of an episode."""
    return Task(**state["task"])
