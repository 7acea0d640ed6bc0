"""From the state of a graded episode to the `Outcome` that the memory takes in."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from agentevo.episode.calls import render_call
from agentevo.episode.context import EpisodeContext
from agentevo.episode.state import EpisodeState, GradeState, task_of
from agentevo.recall import Outcome, Turn


def outcome_of(state: EpisodeState, grade: GradeState, context: EpisodeContext) -> Outcome:
    """Return the episode as an experience: what was asked, done, observed and judged."""
    task = task_of(state)
    return Outcome(
        run_id=context.run_id,
        episode_id=state["episode_id"],
        environment=context.environment.name,
        task_id=task.id,
        scope=task.scope,
        prompt=task.prompt,
        turns=turns_of(state.get("messages", ())),
        solved=grade["solved"],
        score=grade["score"],
        recalled=tuple(entry["id"] for entry in state.get("recalled", ())),
    )


def turns_of(messages: Sequence[BaseMessage]) -> tuple[Turn, ...]:
    """Return the actions of a conversation with their observations, in order."""
    actions: dict[str, str] = {}
    turns: list[Turn] = []
    for message in messages:
        if isinstance(message, AIMessage):
            actions = {
                call["id"] or f"call_{index}": render_call(call["name"], call["args"])
                for index, call in enumerate(message.tool_calls)
            }
        elif isinstance(message, ToolMessage):
            action = actions.get(message.tool_call_id, "")
            turns.append(Turn(action, message.text, error=message.status == "error"))
    return tuple(turns)
