"""The graph that `langgraph.json` names: one episode of whatever a request's settings describe.

A request crosses a network, so it holds plain values; the environment, the model and the memory are
made here, and the episode graph runs inside.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph

from agentevo.config import Settings, load_settings
from agentevo.episode.context import Budgets, EpisodeContext
from agentevo.episode.graph import build_episode_graph
from agentevo.episode.state import FailureState, GradeState, Usage, new_episode
from agentevo.errors import AgentevoError, ConfigError
from agentevo.models import model_for_episode
from agentevo.runtime import environment_of, memory_of, model_of, tasks_of
from agentevo_environments.environment import Environment
from agentevo_environments.errors import EnvironmentsError
from agentevo_environments.task import Task

SECTIONS = frozenset({"env", "model", "memory", "run"})
"""What a request may set; the home and the sandbox are the server's."""


class EpisodeRequest(TypedDict, total=False):
    """Which episode to play.

    Attributes:
        settings: Sections of `agentevo.toml` over those of the server, such as
            `{"env": {"name": "quirks"}, "model": {"spec": "seed"}}`.
        task_id: Which task. Default: the first.
    """

    settings: dict[str, dict[str, Any]]
    task_id: str


class EpisodeReply(TypedDict, total=False):
    """What came of it.

    Attributes:
        messages: The conversation.
        grade: The environment's verdict.
        failure: What broke or ran out.
        usage: What was used.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    grade: GradeState
    failure: FailureState | None
    usage: Usage


class ServedState(EpisodeRequest, EpisodeReply, total=False):
    """A request with its reply."""


def make_graph() -> CompiledStateGraph[ServedState, None, EpisodeRequest, EpisodeReply]:
    """Return the compiled graph; nothing is loaded before the first request."""
    builder = StateGraph(ServedState, input_schema=EpisodeRequest, output_schema=EpisodeReply)
    builder.add_node("play", play)
    builder.add_edge(START, "play")
    builder.add_edge("play", END)
    return builder.compile(name="episode")


def play(state: ServedState, config: RunnableConfig) -> dict[str, Any]:
    """Play the episode that a request asks for.

    Raises:
        ConfigError: The request cannot be met. Callers are shown the messages of no other errors.
    """
    try:
        return _played(state, str(config.get("configurable", {}).get("thread_id", "served")))
    except (AgentevoError, EnvironmentsError) as error:
        raise ConfigError(str(error)) from error


def _played(state: ServedState, thread: str) -> dict[str, Any]:
    given = state.get("settings") or {}
    if refused := sorted(set(given) - SECTIONS):
        raise ConfigError(
            f"a request cannot set {refused[0]!r}; it can set {', '.join(sorted(SECTIONS))}"
        )
    settings = load_settings(given)
    task = _task(settings, state.get("task_id"))
    with _context(settings, task, thread) as context:
        graph = build_episode_graph().compile(name="episode")
        values = graph.invoke(
            new_episode(f"{thread}:{task.id}", task),
            context=context,
            output_keys=["messages", "grade", "failure", "usage"],
        )
    return dict(values)


def _task(settings: Settings, name: str | None) -> Task:
    tasks: dict[str, Task] = {task.id: task for task in tasks_of(settings)}
    if name is None:
        return next(iter(tasks.values()))
    if name not in tasks:
        raise ConfigError(
            f"{settings.env.name!r} has no task {name!r} among the {len(tasks)} that the settings "
            f"choose; the first is {next(iter(tasks))!r}"
        )
    return tasks[name]


@contextmanager
def _context(settings: Settings, task: Task, run_id: str) -> Iterator[EpisodeContext]:
    environment: Environment = environment_of(settings)
    try:
        model = model_for_episode(model_of(settings), environment, task)
        with memory_of(settings) as memory:
            budgets = Budgets(
                settings.run.step_limit,
                settings.run.token_budget,
                settings.run.wall_s,
                settings.memory.budget_tokens,
            )
            yield EpisodeContext(environment, model, run_id, memory, budgets)
    finally:
        environment.close()
