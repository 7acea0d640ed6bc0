"""What was said in the episodes of a run, read from its checkpoints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, convert_to_openai_messages

from agentevo.episode import build_episode_graph
from agentevo.episode.outcome import turns_of
from agentevo.recall import Turn
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.report import EpisodeResult

ChatMessage = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transcript:
    """A finished episode with its whole conversation.

    Attributes:
        result: The outcome.
        task: The task as a plain dictionary.
        system: The system prompt, with what was recalled.
        messages: The conversation after it, in the OpenAI form.
        errors: Tool results that were errors, and reminders to use a tool.
        turns: What was done and observed, as reflection reads it.
    """

    result: EpisodeResult
    task: Mapping[str, Any]
    system: str
    messages: tuple[ChatMessage, ...]
    errors: int
    turns: tuple[Turn, ...] = ()


def read_transcripts(checkpoints: Path) -> Iterator[Transcript]:
    """Yield the finished episodes of a run, in the order of their ids.

    Args:
        checkpoints: The run's `checkpoints.sqlite`.
    """
    with open_checkpoints(checkpoints) as saver:
        graph = build_episode_graph().compile(checkpointer=saver)
        for episode_id, result in sorted(Ledger(saver).outcomes().items()):
            values = graph.get_state({"configurable": {"thread_id": episode_id}}).values
            messages = values.get("messages", [])
            if not messages:
                continue
            errors = sum(getattr(message, "status", "") == "error" for message in messages)
            errors += sum(isinstance(message, HumanMessage) for message in messages[2:])
            system, *chat = convert_to_openai_messages(messages)
            yield Transcript(
                result=result,
                task=values["task"],
                system=str(system["content"]),
                messages=tuple(chat),
                errors=errors,
                turns=tuple(turns_of(messages)),
            )
