"""The values that agents and environments exchange: Task, ToolSpec, Action, Observation, Grade.

All are frozen and hold only plain data, so they can be checkpointed and written as JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, TypeAlias

JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
TaskId = NewType("TaskId", str)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do: T_t of the survey (section 4.1).

    Attributes:
        id: Unique within its environment.
        prompt: What the agent is told.
        scope: Where what is learnt on this task holds (a world, a library, a user); the memory
            recalls rules of this scope only. Empty means: everywhere in the environment.
        split: The task set that it belongs to, such as "train" or "test".
        data: What only the environment may see (hidden tests, goal states). The runtime never
            shows it to the agent.
    """

    id: TaskId
    prompt: str
    scope: str = ""
    split: str = "test"
    data: Mapping[str, JSONValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the agent may call in the environment.

    Attributes:
        name: Identifier, unique within the environment.
        description: One paragraph for the agent.
        parameters: JSON Schema (type "object") of the arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, JSONValue]

    @classmethod
    def of(cls, name: str, description: str, **types: str) -> "ToolSpec":
        """Return a tool whose arguments are all required, each of a JSON Schema type by name."""
        properties: dict[str, JSONValue] = {key: {"type": kind} for key, kind in types.items()}
        return cls(
            name,
            description,
            {
                "type": "object",
                "properties": properties,
                "required": list(types),
                "additionalProperties": False,
            },
        )


@dataclass(frozen=True, slots=True)
class Action:
    """One tool call of the agent.

    Attributes:
        tool: Name of a `ToolSpec` of the environment.
        arguments: Arguments, not yet validated.
        id: Identity of this action for exactly-once execution; the same id gives the same
            result and never a second run. Empty means: no identity, always run.
    """

    tool: str
    arguments: Mapping[str, JSONValue] = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the agent sees after an action.

    Attributes:
        text: The text shown to the agent.
        done: Whether the episode has ended; `Environment.grade` may be called.
        error: Whether the action failed (wrong arguments, a failing command). It informs the
            agent and the memory; it never ends a run.
    """

    text: str
    done: bool = False
    error: bool = False


@dataclass(frozen=True, slots=True)
class Grade:
    """The environment's verdict on an episode: F_t from ENV (survey section 4.3).

    Attributes:
        score: From 0 (nothing) to 1 (everything).
        solved: Whether the task counts as solved.
        detail: One line that says why, without revealing hidden tests.
    """

    score: float
    solved: bool
    detail: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score lies between 0 and 1, not {self.score!r}")
