"""`EpisodeContext`: the live parts of one episode, handed to the graph and never checkpointed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable

from agentevo.episode.state import Usage
from agentevo.events import Event
from agentevo.recall import Memory, Recalled
from agentevo_environments.environment import Environment
from agentevo_environments.task import JSONValue, Task, ToolSpec


@dataclass(frozen=True, slots=True)
class Budgets:
    """What one episode may use. None means: no limit.

    Attributes:
        steps: Actions; the environment's own limit holds as well.
        tokens: Tokens read and written by the model.
        wall_s: Seconds of work.
        memory_tokens: Tokens of recalled records in the prompt.
    """

    steps: int | None = None
    tokens: int | None = None
    wall_s: float | None = None
    memory_tokens: int = 512

    def exhausted(self, usage: Usage) -> str:
        """Return which budget `usage` has used up, in words; "" when there is some left."""
        tokens = usage["input_tokens"] + usage["output_tokens"]
        if self.tokens is not None and tokens >= self.tokens:
            return f"the budget of {self.tokens} tokens is used up ({tokens})"
        if self.wall_s is not None and usage["active_s"] >= self.wall_s:
            return f"the budget of {self.wall_s:g} s is used up ({usage['active_s']:.1f} s)"
        return ""


@dataclass(slots=True)
class EpisodeContext:
    """What the nodes of one episode work with. One context serves one episode at a time.

    Attributes:
        environment: An instance that nothing else uses meanwhile.
        model: The model that acts.
        run_id: The run, for events and memory.
        memory: Where to recall from and to report to, or None.
        budgets: What the episode may use.
        iteration: Round of the evolution; 0 outside one.
        on_event: Called with every event in the episode's own thread. LangGraph's "custom" stream
            carries the same events, but costs two changes of thread per step.
    """

    environment: Environment
    model: BaseChatModel
    run_id: str = ""
    memory: Memory | None = None
    budgets: Budgets = Budgets()
    iteration: int = 0
    on_event: Callable[[Event], None] | None = None
    _live: str = field(default="", init=False, repr=False)
    _lap: float = field(default_factory=time.perf_counter, init=False, repr=False)
    _bound: "tuple[Sequence[ToolSpec], Runnable[LanguageModelInput, AIMessage]] | None" = field(
        default=None, init=False, repr=False
    )

    def lap_s(self) -> float:
        """Return the seconds since the last lap (since the context was made, the first time)."""
        now = time.perf_counter()
        lap, self._lap = now - self._lap, now
        return lap

    def entered(self, episode_id: str) -> None:
        """Note that the environment was reset for this episode."""
        self._live = episode_id

    def ensure_live(self, episode_id: str, task: Task, snapshot: JSONValue) -> None:
        """Bring the environment to `snapshot` if it is not in this episode already."""
        if self._live != episode_id:
            self.environment.restore(task, snapshot)
            self._live = episode_id

    def snapshot(self) -> JSONValue:
        """Return the environment's state; None when it cannot be snapshotted."""
        return self.environment.snapshot() if can_continue(self.environment) else None

    def step_limit(self) -> int:
        """Return the most actions of the episode."""
        limit = self.environment.step_limit
        return limit if self.budgets.steps is None else min(limit, self.budgets.steps)

    def recall(self, task: Task) -> Sequence[Recalled]:
        """Return what the memory offers for `task`; nothing without a memory."""
        if self.memory is None:
            return ()
        return self.memory.recall(
            task.prompt,
            environment=self.environment.name,
            scope=task.scope,
            budget_tokens=self.budgets.memory_tokens,
        )

    def bound_model(self) -> "Runnable[LanguageModelInput, AIMessage]":
        """Return the model with the environment's tools of this moment."""
        tools = tuple(self.environment.tools())
        if self._bound is None or self._bound[0] != tools:
            self._bound = (tools, self.model.bind_tools([_as_function(tool) for tool in tools]))
        return self._bound[1]


def can_continue(environment: Environment) -> bool:
    """Return whether another process can continue an episode of this environment."""
    return type(environment).snapshot is not Environment.snapshot


def _as_function(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        },
    }
