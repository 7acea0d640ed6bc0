"""The wiring of an episode: recall, then act and execute in turn, then grade."""

from typing import Any, Literal, TypeAlias

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agentevo.episode.context import EpisodeContext
from agentevo.episode.nodes import aact, act, execute, grade, recall
from agentevo.episode.state import EpisodeInput, EpisodeOutput, EpisodeState
from agentevo.episode.step import Step

EpisodeBuilder: TypeAlias = StateGraph[EpisodeState, EpisodeContext, EpisodeInput, EpisodeOutput]
EpisodeGraph: TypeAlias = CompiledStateGraph[
    EpisodeState, EpisodeContext, EpisodeInput, EpisodeOutput
]


def build_episode_graph() -> EpisodeBuilder:
    """Return the uncompiled graph of one episode.

    Compile it with a checkpointer and invoke it with `new_episode(...)` and an `EpisodeContext`,
    or add the compiled graph as a node of your own: it then shares its keys with your state.
    """
    builder = StateGraph(
        EpisodeState,
        context_schema=EpisodeContext,
        input_schema=EpisodeInput,
        output_schema=EpisodeOutput,
    )
    on, anywhere = ("act", "grade"), ("act", "execute", "grade")
    builder.add_node("recall", Step(recall, after_recall), destinations=on)
    builder.add_node("act", Step(act, after_act, ado=aact), destinations=anywhere)
    builder.add_node("execute", Step(execute, after_execute), destinations=on)
    builder.add_node("grade", grade)
    builder.add_edge(START, "recall")
    builder.add_edge("grade", END)
    return builder


def make_graph() -> EpisodeGraph:
    """Return the compiled graph without a checkpointer, for `langgraph.json`; loads no model."""
    return build_episode_graph().compile(name="episode")


def after_recall(state: EpisodeState) -> Literal["act", "grade"]:
    """Return where to go once the episode has started."""
    return "grade" if state.get("failure") or state["done"] else "act"


def after_act(state: EpisodeState) -> Literal["act", "execute", "grade"]:
    """Return where to go after an answer: do its calls, ask once more, or end."""
    if state.get("failure"):
        return "grade"
    last: Any = state["messages"][-1]
    if not isinstance(last, AIMessage):
        return "act"
    return "execute" if last.tool_calls or last.invalid_tool_calls else "grade"


def after_execute(state: EpisodeState) -> Literal["act", "grade"]:
    """Return where to go after actions: on, or to the verdict."""
    return "grade" if state.get("failure") or state["done"] else "act"
