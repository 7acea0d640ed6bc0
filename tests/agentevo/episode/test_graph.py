"""The real graph, a small world, scripted answers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, InvalidToolCall, ToolCall, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from agentevo.episode import Budgets, EpisodeContext, build_episode_graph, make_graph, new_episode
from agentevo.episode.state import EpisodeState
from agentevo.recall import Outcome, Recalled
from agentevo_environments import Environment, Task
from agentevo_environments.errors import SandboxDiedError

Make = Callable[..., Any]


def episode(context: EpisodeContext, task: Task) -> dict[str, Any]:
    return make_graph().invoke(new_episode("e", task), context=context)


def state_of(context: EpisodeContext, task: Task) -> dict[str, Any]:
    graph = build_episode_graph().compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "e"}}
    graph.invoke(new_episode("e", task), config, context=context)
    return dict(graph.get_state(config).values)


def test_an_episode_acts_until_the_environment_is_done(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    result = episode(make_context(make_add(1), make_add(2)), reach_3)
    assert result["grade"] == {"score": 1.0, "solved": True, "detail": ""}
    assert result["actions"] == 2
    assert result["failure"] is None


def test_action_ids_name_episode_step_and_position(
    make_context: Make, make_add: Make, reach_3: Task, counter: Any
) -> None:
    episode(make_context(make_add(0, 1), make_add(2)), reach_3)
    assert counter.done_ids == ["e/0/0", "e/0/1", "e/2/0"]


def test_calls_after_the_end_are_answered_but_not_done(
    make_context: Make, make_add: Make, reach_3: Task, counter: Any
) -> None:
    state = state_of(make_context(make_add(3, 5)), reach_3)
    assert counter.sum == 3
    assert "has ended" in state["messages"][-1].text
    assert state["actions"] == 1


def test_the_step_limit_ends_an_episode_as_a_budget_failure(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    result = episode(make_context(*[make_add(0)] * 9), reach_3)
    assert result["failure"]["type"] == "budget"
    assert "6 actions" in result["failure"]["message"]
    assert (result["actions"], result["grade"]["solved"]) == (6, False)


@pytest.mark.parametrize(
    ("budgets", "word"),
    [
        (Budgets(tokens=30), "tokens"),
        (Budgets(wall_s=1e-9), "s is used"),
        (Budgets(steps=2), "2 actions"),
    ],
)
def test_every_budget_ends_an_episode(
    make_context: Make, make_add: Make, reach_3: Task, budgets: Budgets, word: str
) -> None:
    result = episode(make_context(*[make_add(0)] * 9, budgets=budgets), reach_3)
    assert result["failure"]["type"] == "budget"
    assert word in result["failure"]["message"]


def test_a_failing_model_is_a_recorded_outcome(make_context: Make, reach_3: Task) -> None:
    result = episode(make_context(RuntimeError("rate limit")), reach_3)
    assert result["failure"] == {"type": "model", "message": "RuntimeError: rate limit"}
    assert result["grade"]["solved"] is False


@pytest.mark.parametrize(
    ("error", "kind"),
    [(SandboxDiedError("gone"), "sandbox"), (ZeroDivisionError("bug"), "environment")],
)
def test_a_broken_world_is_a_recorded_outcome(
    make_context: Make, make_add: Make, reach_3: Task, error: Exception, kind: str
) -> None:
    context = make_context(make_add(1))
    context.environment.fail_with = error
    result = episode(context, reach_3)
    assert result["failure"]["type"] == kind
    assert str(error) in result["failure"]["message"]


def test_plain_text_is_nudged_once_and_then_ends_the_episode(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    state = state_of(make_context("hello", make_add(1), "I give up"), reach_3)
    nudges = [m for m in state["messages"][2:] if isinstance(m, HumanMessage)]
    assert len(nudges) == 1
    assert state["messages"][-1].text == "I give up"
    assert (state["grade"]["solved"], state.get("failure")) == (False, None)


def test_invalid_calls_are_errors_that_the_model_reads(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    bad = AIMessage(
        "",
        tool_calls=[ToolCall(name="fly", args={}, id="a", type="tool_call")],
        invalid_tool_calls=[
            InvalidToolCall(name="add", args="{3", id="b", error=None, type="invalid_tool_call")
        ],
    )
    state = state_of(make_context(bad, make_add("x"), make_add(3)), reach_3)
    answers = [m for m in state["messages"] if isinstance(m, ToolMessage)]
    assert "no tool 'fly'; there are: add" in answers[0].text
    assert "malformed" in answers[1].text
    assert "must be an integer" in answers[2].text
    assert [m.status for m in answers] == ["error", "error", "error", "success"]
    assert state["grade"]["solved"] is True


class Notebook:
    """A memory that offers one rule and keeps what it observes."""

    def __init__(self, error: Exception | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self.error = error

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        if self.error:
            raise self.error
        return [Recalled("r1", "rule", "Add in small steps.", 0.5, trusted=True)]

    def observe(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def test_memory_is_recalled_into_the_prompt_and_observes_the_outcome(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    notebook = Notebook()
    state = state_of(make_context(make_add(1), make_add(2), memory=notebook), reach_3)
    assert "\n- Add in small steps." in state["messages"][0].text
    (outcome,) = notebook.outcomes
    assert (outcome.recalled, outcome.solved, outcome.episode_id) == (("r1",), True, "e")
    assert json.loads(outcome.turns[1].action) == {"name": "add", "arguments": {"amount": 2}}
    assert outcome.turns[1].observation == "The sum is 3."


def test_memory_is_not_blamed_for_a_broken_model(make_context: Make, reach_3: Task) -> None:
    notebook = Notebook()
    episode(make_context(RuntimeError("down"), memory=notebook), reach_3)
    assert notebook.outcomes == []


def test_a_broken_memory_is_a_recorded_outcome(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    memory = Notebook(error=OSError("locked"))
    result = episode(make_context(make_add(3), memory=memory), reach_3)
    assert result["failure"] == {"type": "memory", "message": "OSError: locked"}


async def test_the_async_twin_gives_the_same_outcome(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    script = [make_add(1), make_add(2)]
    result = await make_graph().ainvoke(new_episode("e", reach_3), context=make_context(*script))
    other = episode(make_context(*script), reach_3)
    assert {**result, "usage": None} == {**other, "usage": None}


async def test_an_async_saver_keeps_and_continues_an_episode(
    make_context: Make, make_add: Make, reach_3: Task, tmp_path: Path
) -> None:
    config: Any = {"configurable": {"thread_id": "e"}}
    context = make_context(make_add(1), make_add(2))
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "c.sqlite")) as saver:
        graph = build_episode_graph().compile(checkpointer=saver)
        await graph.ainvoke(
            new_episode("e", reach_3), config, context=context, interrupt_after=["execute"]
        )
        other = EpisodeContext(type(context.environment)(), context.model, "r")
        result = await graph.ainvoke(None, config, context=other)
    assert (result["grade"]["solved"], result["actions"]) == (True, 2)


def test_events_come_in_one_envelope(make_context: Make, make_add: Make, reach_3: Task) -> None:
    stream = make_graph().stream(
        new_episode("e", reach_3),
        context=make_context(make_add(3)),
        stream_mode="custom",
        version="v2",
    )
    events: list[Any] = [part["data"] for part in stream]
    assert [event["type"] for event in events] == [
        f"agentevo.{name}" for name in ("episode_started", "acted", "executed", "graded")
    ]
    assert {(event["run_id"], event["episode_id"]) for event in events} == {("r", "e")}
    assert json.loads(json.dumps(events)) == events


def test_long_texts_are_cut_in_events(make_context: Make, make_add: Make, reach_3: Task) -> None:
    context = make_context("x" * 100_000, make_add(3))
    parts = list(
        make_graph().stream(new_episode("e", reach_3), context=context, stream_mode="custom")
    )
    assert max(len(json.dumps(part)) for part in parts) < 10_000


def test_an_interrupted_episode_continues_in_another_instance(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    graph = build_episode_graph().compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "e"}}
    script = [make_add(1), make_add(1), make_add(1)]
    context = make_context(*script)
    graph.invoke(new_episode("e", reach_3), config, context=context, interrupt_after=["execute"])
    other = type(context.environment)()
    result = graph.invoke(None, config, context=EpisodeContext(other, context.model, "r"))
    assert result["grade"]["solved"] is True
    assert other.done_ids == ["e/1/0", "e/2/0"]


def test_the_graph_is_a_subgraph_and_draws(
    make_context: Make, make_add: Make, reach_3: Task
) -> None:
    parent = StateGraph(EpisodeState, context_schema=EpisodeContext)
    parent.add_node("episode", make_graph())
    parent.add_edge(START, "episode")
    parent.add_edge("episode", END)
    result = parent.compile().invoke(
        new_episode("e", reach_3),  # type: ignore[arg-type]
        context=make_context(make_add(3)),
    )
    assert result["grade"]["solved"] is True
    drawing = make_graph().get_graph().draw_mermaid()
    assert all(name in drawing for name in ("recall", "act", "execute", "grade"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    amounts=st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=4), max_size=8),
    limit=st.integers(1, 9),
)
def test_the_step_limit_holds_whatever_the_model_does(
    make_context: Make, make_add: Make, reach_3: Task, amounts: list[list[int]], limit: int
) -> None:
    script = [make_add(*each) for each in amounts]
    result = episode(make_context(*script, "end", "end", budgets=Budgets(steps=limit)), reach_3)
    assert result["actions"] <= min(limit, 6)
    assert 0.0 <= result["grade"]["score"] <= 1.0


def test_only_environments_with_snapshots_can_be_continued(counter: Environment) -> None:
    from agentevo.episode.context import can_continue

    class Forgetful(type(counter)):  # type: ignore[misc]
        snapshot = Environment.snapshot

    assert can_continue(counter)
    assert not can_continue(Forgetful())
