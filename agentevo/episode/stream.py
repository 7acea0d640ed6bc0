"""The events that an episode streams while it goes on, in the envelope of `agentevo.events`.

Texts are cut to a bounded size, so that an event always fits on one line of a log.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime

from agentevo.episode.calls import CallResult
from agentevo.episode.context import EpisodeContext
from agentevo.episode.state import EpisodeState
from agentevo.events import make_event

LONGEST_TEXT = 4000


def stream_started(
    runtime: Runtime[EpisodeContext], state: EpisodeState, update: dict[str, Any]
) -> None:
    """Stream `episode_started`: the task, and ids and scores of what was recalled."""
    task = state["task"]
    data = {"task_id": task["id"], "scope": task["scope"], "recalled": update["recalled"]}
    _stream(runtime, state, "episode_started", data)


def stream_acted(
    runtime: Runtime[EpisodeContext], state: EpisodeState, update: dict[str, Any], seconds: float
) -> None:
    """Stream `acted`: the model's text and calls, its tokens and time."""
    answer = next(iter(update.get("messages", ())), AIMessage(""))
    calls = [{"tool": call["name"], "arguments": _cut(call["args"])} for call in answer.tool_calls]
    spent = answer.usage_metadata or {}
    data = {
        "step": state["actions"],
        "text": _cut(answer.text),
        "calls": calls,
        "input_tokens": spent.get("input_tokens", 0),
        "output_tokens": spent.get("output_tokens", 0),
        "seconds": round(seconds, 6),
        "failure": update.get("failure"),
    }
    _stream(runtime, state, "acted", data)


def stream_executed(
    runtime: Runtime[EpisodeContext],
    state: EpisodeState,
    results: Sequence[CallResult],
    seconds: float,
) -> None:
    """Stream `executed`: every action with what the environment answered."""
    observations = [
        {
            "action_id": result.call.action.id,
            "tool": result.call.action.tool,
            "text": _cut(result.observation.text),
            "error": result.observation.error,
            "done": result.observation.done,
        }
        for result in results
    ]
    data = {"step": state["actions"], "results": observations, "seconds": round(seconds, 6)}
    _stream(runtime, state, "executed", data)


def stream_graded(
    runtime: Runtime[EpisodeContext], state: EpisodeState, update: dict[str, Any]
) -> None:
    """Stream `graded`: the verdict, and what broke or ran out."""
    data = {**update["grade"], "failure": update.get("failure", state.get("failure"))}
    _stream(runtime, state, "graded", data)


def _stream(
    runtime: Runtime[EpisodeContext], state: EpisodeState, name: str, data: dict[str, Any]
) -> None:
    context, episode_id = runtime.context, state["episode_id"]
    event = make_event(
        name, context.run_id, data, episode_id=episode_id, iteration=context.iteration
    )
    runtime.stream_writer(event)
    if context.on_event is not None:
        context.on_event(event)


def _cut(value: Any) -> Any:
    """Return `value` with every text in it cut to `LONGEST_TEXT` characters."""
    if isinstance(value, str):
        lost = len(value) - LONGEST_TEXT
        return value if lost <= 0 else f"{value[:LONGEST_TEXT]} ... ({lost} characters more)"
    if isinstance(value, dict):
        return {str(key): _cut(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(entry) for entry in value]
    return value
