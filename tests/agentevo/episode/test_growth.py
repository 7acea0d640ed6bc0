"""Checkpoints of a long episode grow with its length, not with its square."""

from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage

from agentevo.episode import EpisodeContext, build_episode_graph, new_episode
from agentevo.models.scripted import ScriptedModel
from agentevo.runs.checkpoints import open_checkpoints
from agentevo_environments import Task


def stored_bytes(path: Path, counter: Any, task: Task, actions: int, make_add: Any) -> int:
    counter.step_limit = actions
    answer = AIMessage("x" * 500, tool_calls=make_add(0).tool_calls)
    context = EpisodeContext(counter, ScriptedModel(responses=[answer], repeat_last=True), "r")
    with open_checkpoints(path, synchronous="NORMAL") as saver:
        graph = build_episode_graph().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "e"}, "recursion_limit": 1000}
        graph.invoke(new_episode("e", task), config, context=context, durability="sync")
        assert len(graph.get_state(config).values["messages"]) == 2 + 2 * actions
        tables = {"checkpoints": "checkpoint", "writes": "value"}
        return sum(
            saver.conn.execute(f"SELECT sum(length({column})) FROM {table}").fetchone()[0]
            for table, column in tables.items()
        )


def test_twice_the_actions_take_about_twice_the_room(
    tmp_path: Path, counter: Any, reach_3: Task, make_add: Any
) -> None:
    short = stored_bytes(tmp_path / "short.sqlite", counter, reach_3, 40, make_add)
    long = stored_bytes(tmp_path / "long.sqlite", counter, reach_3, 80, make_add)
    assert long < 2.7 * short
    assert long < 80 * 8000
