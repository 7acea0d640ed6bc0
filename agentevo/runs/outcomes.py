"""The outcomes of a run's finished episodes with what was done in them, read from its checkpoints."""

from collections.abc import Mapping

from agentevo.episode import build_episode_graph
from agentevo.episode.outcome import turns_of
from agentevo.episode.state import task_of
from agentevo.recall import Outcome
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.directory import RunDirectory


def read_outcomes(directory: RunDirectory, environment: str) -> Mapping[str, Outcome]:
    """Return the outcome of every finished episode by task id.

    Args:
        directory: The run.
        environment: Name of the environment that the episodes were done in.
    """
    found: dict[str, Outcome] = {}
    with open_checkpoints(directory.checkpoints) as saver:
        graph = build_episode_graph().compile(checkpointer=saver)
        for episode_id, result in Ledger(saver).outcomes().items():
            values = graph.get_state({"configurable": {"thread_id": episode_id}}).values
            task = task_of(values) if "task" in values else None
            found[result.task_id] = Outcome(
                run_id=directory.id,
                episode_id=episode_id,
                environment=environment,
                task_id=result.task_id,
                scope=task.scope if task else "",
                prompt=task.prompt if task else "",
                turns=turns_of(values.get("messages", ())),
                solved=result.solved,
                score=result.score,
                recalled=result.recalled,
            )
    return found
