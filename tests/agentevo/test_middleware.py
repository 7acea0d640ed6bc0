"""`EvolutionMiddleware`: any agent of `create_agent` remembers, and follows verified rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver

from agentevo.middleware import EvolutionMiddleware
from agentevo.models import init_model
from agentevo.models.scripted import ScriptedModel
from agentevo.updating.in_context import InContextMemory, open_memory
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS
from agentevo_memory import Draft

ASKED: Any = {"messages": [{"role": "user", "content": "In Kife: lift the bell."}]}


class Prompts(BaseCallbackHandler):
    """Keeps the system prompts that models were given."""

    def __init__(self) -> None:
        self.systems: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.systems += [m.text for batch in messages for m in batch if m.type == "system"]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[InContextMemory]:
    opened = open_memory(tmp_path / "memory", notes=0, embedder="hashing")
    yield opened
    opened.close()


@pytest.fixture
def lift() -> BaseTool:
    """A service in which lifting needs a step first."""
    world = {"name": "Kife", "quirks": {"step lift": "warm"}}
    state: dict[str, Any] = {"steps": [], "objects": {}}

    @tool
    def run(command: str) -> str:
        """Run one command of the service and see its answer."""
        text, error = service.answer(world, state, command)
        if error:
            raise ToolException(text)
        return text

    run.handle_tool_error = True
    return run


def know(memory: InContextMemory, text: str) -> str:
    draft = Draft(text=text, kind="rule", namespace=memory.namespace, environment="quirks")
    return memory.store.insert(draft).id


def call(command: str) -> AIMessage:
    made = ToolCall(name="run", args={"command": command}, id=command, type="tool_call")
    return AIMessage("", tool_calls=[made])


def test_rules_instruct_and_the_episode_is_remembered(
    memory: InContextMemory, lift: BaseTool
) -> None:
    rule, prompts = know(memory, "Lift needs warm"), Prompts()
    model = ScriptedModel(responses=[call("do lift obj bell"), "It cannot be lifted."])
    middleware = EvolutionMiddleware(memory, environment="quirks", scope="Kife")
    agent = create_agent(model, [lift], system_prompt="Be brief.", middleware=[middleware])
    done = agent.invoke(ASKED, {"callbacks": [prompts]})
    assert prompts.systems == ["Be brief.\nRules, later ones win:\n- Lift needs warm"] * 2
    assert set(done) == {"messages"}
    (seen,) = [r for r in memory.store.records() if r.kind == "experience"]
    assert (seen.environment, seen.scope, seen.outcome.success) == ("quirks", "Kife", False)
    assert "In Kife lift needs warm" in seen.body
    assert (memory.store.get(rule).uses, memory.store.get(rule).harmed) == (1, 1)


def test_an_empty_memory_changes_no_prompt(memory: InContextMemory) -> None:
    prompts, model = Prompts(), ScriptedModel(responses=["Done."])
    agent = create_agent(model, [], middleware=[EvolutionMiddleware(memory)])
    agent.invoke(ASKED, {"callbacks": [prompts]})
    assert prompts.systems == []


async def test_an_agent_that_runs_beside_an_event_loop_is_told_the_same(
    memory: InContextMemory,
) -> None:
    know(memory, "Lift needs warm")
    prompts, model = Prompts(), ScriptedModel(responses=["Done."])
    middleware = EvolutionMiddleware(memory, environment="quirks")
    agent = create_agent(model, [], system_prompt="Be brief.", middleware=[middleware])
    await agent.ainvoke(ASKED, {"callbacks": [prompts]})
    assert "- Lift needs warm" in prompts.systems[0]


def test_every_call_of_a_conversation_is_an_episode_of_its_own(memory: InContextMemory) -> None:
    model = ScriptedModel(responses=["One.", "Two."])
    scores = iter([1.0, 0.25])
    middleware = EvolutionMiddleware(memory, judge=lambda messages: next(scores))
    agent = create_agent(model, [], middleware=[middleware], checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "a"}}
    for text in ("In Kife: lift the bell.", "In Kife: scan the cup."):
        asked: Any = {"messages": [{"role": "user", "content": text}]}
        agent.invoke(asked, thread)
    seen = [r for r in memory.store.records() if r.kind == "experience"]
    assert sorted((r.outcome.success, r.outcome.score) for r in seen) == [
        (False, 0.25),
        (True, 1.0),
    ]
    assert ["scan" in r.text for r in seen] == [False, True]


def test_a_conversation_without_a_user_is_refused(memory: InContextMemory) -> None:
    agent = create_agent(
        ScriptedModel(responses=["Done."]), [], middleware=[EvolutionMiddleware(memory)]
    )
    with pytest.raises(ValueError, match="none of the 0 messages is from a user"):
        agent.invoke({"messages": []})


@pytest.mark.parametrize("known", [False, True])
def test_the_seed_model_does_what_a_rule_of_the_memory_says(
    known: bool, memory: InContextMemory, lift: BaseTool
) -> None:
    if known:
        know(memory, "In Kife lift needs warm")
    middleware = EvolutionMiddleware(memory, environment="quirks")
    model: Any = init_model("seed", max_tokens=64)
    agent = create_agent(
        model,
        [lift],
        system_prompt=INSTRUCTIONS,
        middleware=[middleware],
    )
    messages = agent.invoke(ASKED)["messages"]
    called = [c["args"]["command"] for m in messages for c in getattr(m, "tool_calls", ())]
    assert called[0] == ("do warm obj bell" if known else "do lift obj bell")
