"""`EpisodeWorker`: does the episodes of a run one after the other, in one environment instance.

The resume rule: an episode is done if and only if its outcome is in the ledger. One with a
checkpoint continues from it; any other starts anew. What the checkpoint says of the next step is
not trusted: the graph is asked to go on, and goes on or turns out to be finished.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import GraphDrained

from agentevo.episode import Budgets, EpisodeContext, build_episode_graph, new_episode
from agentevo.episode.context import can_continue
from agentevo.episode.failure import recorded_failures
from agentevo.events import make_event
from agentevo.models import AnyModel, model_for_episode
from agentevo.recall import Memory
from agentevo.runs.checkpoints import Ledger
from agentevo.runs.drain import Drain
from agentevo.runs.event_log import EventLog
from agentevo.runs.report import EpisodeResult, Failure
from agentevo_environments.environment import Environment
from agentevo_environments.errors import SandboxError
from agentevo_environments.sandboxes.base import Sandbox
from agentevo_environments.task import Task

_BROKEN_WORLD = frozenset({"sandbox", "environment"})
_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class World:
    """An environment of one worker, and the sandbox that it owns.

    Attributes:
        environment: Used for one episode at a time, closed by the worker.
        sandbox: The environment's sandbox, or None; only asked what it contains.
    """

    environment: Environment
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class EpisodeParts:
    """What all workers of a run share.

    Attributes:
        run_id: The run.
        model: The model or the source of models.
        memory: The memory, or None.
        budgets: What one episode may use.
        durability: When checkpoints are written, as LangGraph defines it.
        saver: The checkpoints.
        ledger: The outcomes.
        events: The log of events.
        drain: The request to stop.
    """

    run_id: str
    model: AnyModel
    memory: Memory | None
    budgets: Budgets
    durability: Literal["sync", "async", "exit"]
    saver: SqliteSaver
    ledger: Ledger
    events: EventLog
    drain: Drain

    def episode_id(self, task: Task) -> str:
        """Return the id of the episode of `task` in this run."""
        return f"{self.run_id}:{task.id}"


class EpisodeWorker:
    """Does tasks in an environment of its own; a context manager that closes it.

    Args:
        parts: What the worker shares with the others.
        make_world: Makes the environment; called again when its world has broken.
    """

    def __init__(self, parts: EpisodeParts, make_world: Callable[[], World]) -> None:
        self._parts = parts
        self._make_world = make_world
        self._world = make_world()
        self._described = False
        self._graph = build_episode_graph().compile(checkpointer=parts.saver, name="episode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._world.environment.close()

    def __call__(self, task: Task) -> EpisodeResult | None:
        """Do one task, record its outcome once, and return it; None when drained before its end.

        Raises:
            RunError: The events cannot be written.
            sqlite3.Error: The checkpoints cannot be written.
            SandboxUnavailableError: The sandbox cannot start on this machine.
        """
        result = self._do(task)
        if result is None or not self._parts.ledger.record(result):
            return result
        self._parts.events.append(finished_event(self._parts.run_id, result))
        return result

    def _do(self, task: Task) -> EpisodeResult | None:
        for attempt in range(1, _ATTEMPTS + 1):
            result = self._attempt(task)
            if result is None:
                return None
            result = replace(result, attempts=attempt)
            self._describe_sandbox(result)
            broken = result.failure.type if result.failure else ""
            if broken in _BROKEN_WORLD:
                self._renew()
            if broken != "sandbox" or attempt == _ATTEMPTS:
                return result
            self._parts.saver.delete_thread(result.episode_id)
        return result

    def _describe_sandbox(self, result: EpisodeResult) -> None:
        """Note what the sandbox contains, once it has served an episode.

        An episode that was over before a kill is resumed without its sandbox being started.
        """
        if self._world.sandbox is None or self._described or result.failure is not None:
            return
        with suppress(SandboxError):
            contained = asdict(self._world.sandbox.containment)
            self._described = True
            self._parts.ledger.remember("containment", contained)

    def _renew(self) -> None:
        with suppress(SandboxError):
            self._world.environment.close()
        self._world = self._make_world()

    def _attempt(self, task: Task) -> EpisodeResult | None:
        parts, episode_id = self._parts, self._parts.episode_id(task)
        update: dict[str, Any] = {}
        environment = self._world.environment
        with recorded_failures(update, "model"):
            model = model_for_episode(parts.model, environment, task)
        if "failure" in update:
            return result_of(episode_id, task, update)
        context = EpisodeContext(
            environment,
            model,
            parts.run_id,
            parts.memory,
            parts.budgets,
            on_event=parts.events.append,
        )
        try:
            values = self._finish_graph(episode_id, task, context)
        except GraphDrained:
            return None
        usage = values["usage"]
        seconds = usage["active_s"] + context.lap_s()
        return result_of(episode_id, task, {**values, "usage": {**usage, "active_s": seconds}})

    def _finish_graph(
        self, episode_id: str, task: Task, context: EpisodeContext
    ) -> Mapping[str, Any]:
        """Start or continue the graph and return its last values."""
        config = self._config(episode_id, task, context)
        start = None if self._has_checkpoint(config) else new_episode(episode_id, task)
        with self._parts.drain.control() as control:
            return self._graph.invoke(
                start,
                config,
                context=context,
                durability=self._parts.durability,
                control=control,
            )

    def _has_checkpoint(self, config: RunnableConfig) -> bool:
        """Return whether to continue; a checkpoint that cannot be continued is dropped."""
        saved = self._parts.saver.get_tuple(config)
        if saved is None:
            return False
        # with durability "exit" a killed episode leaves an empty one
        if saved.checkpoint["channel_versions"] and can_continue(self._world.environment):
            return True
        self._parts.saver.delete_thread(config["configurable"]["thread_id"])
        return False

    def _config(self, episode_id: str, task: Task, context: EpisodeContext) -> RunnableConfig:
        return RunnableConfig(
            configurable={"thread_id": episode_id},
            recursion_limit=2 * context.step_limit() + 10,
            max_concurrency=1,  # one thread stores the checkpoints of an episode, which has one node
            run_name="episode",
            tags=["agentevo"],
            metadata={"agentevo.run_id": self._parts.run_id, "agentevo.task_id": task.id},
        )


def result_of(episode_id: str, task: Task, values: Mapping[str, Any]) -> EpisodeResult:
    """Return the outcome that the last values of an episode say."""
    grade, usage = values.get("grade") or {}, values.get("usage") or {}
    failure = values.get("failure")
    return EpisodeResult(
        episode_id=episode_id,
        task_id=task.id,
        solved=grade.get("solved", False),
        score=grade.get("score", 0.0),
        detail=grade.get("detail", "not started"),
        failure=Failure(**failure) if failure else None,
        actions=values.get("actions", 0),
        graph_steps=usage.get("graph_steps", 0),
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        seconds=usage.get("active_s", 0.0),
        model_s=usage.get("model_s", 0.0),
        environment_s=usage.get("environment_s", 0.0),
        recalled=tuple(entry["id"] for entry in values.get("recalled", ())),
    )


def finished_event(run_id: str, result: EpisodeResult) -> Any:
    """Return the event `episode_finished`, which follows the outcome's entry in the ledger."""
    return make_event("episode_finished", run_id, result.to_json(), episode_id=result.episode_id)
