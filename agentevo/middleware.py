"""`EvolutionMiddleware`: the memory of agentevo for any agent made by LangChain's `create_agent`.

Before the model is called, what the memory knows stands in the system prompt; after the agent has
answered, its episode is an experience, and what it had recalled is credited or blamed.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse
from langchain.agents.middleware.types import PrivateStateAttr
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.runtime import Runtime

from agentevo.episode.outcome import turns_of
from agentevo.prompts import render_system
from agentevo.recall import Memory, Outcome, Recalled

Judge = Callable[[Sequence[BaseMessage]], float]
"""From the messages of an episode to its score, in [0, 1]; 1 is solved."""
Update = dict[str, Any]


class EvolutionAgentState(AgentState[Any]):
    """The state of an agent with `EvolutionMiddleware`.

    Attributes:
        evolution: The episode in progress: its id and what it recalled. Callers do not see it.
    """

    evolution: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]


def no_error_at_the_end(messages: Sequence[BaseMessage]) -> float:
    """Return 1 unless the last tool call of the episode failed."""
    results = [message for message in messages if isinstance(message, ToolMessage)]
    return float(not results or results[-1].status != "error")


class EvolutionMiddleware(AgentMiddleware[EvolutionAgentState, Any, Any]):
    """Recalls memory into the system prompt, and records what came of it.

    One call of the agent is one episode, and the user's last message is its task. Rules that were
    verified instruct; everything else from memory is shown as data.

    Args:
        memory: Where to recall from and to report to, such as
            `agentevo.updating.in_context.open_memory(folder)`.
        environment: Name under which episodes are remembered.
        scope: Part of the environment that they belong to; "" for none.
        judge: Says how well an episode went.
        budget_tokens: Most tokens of recalled records in the prompt.
    """

    state_schema = EvolutionAgentState

    def __init__(
        self,
        memory: Memory,
        *,
        environment: str = "agent",
        scope: str = "",
        judge: Judge = no_error_at_the_end,
        budget_tokens: int = 512,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.environment = environment
        self.scope = scope
        self.judge = judge
        self.budget_tokens = budget_tokens

    def before_agent(self, state: EvolutionAgentState, runtime: Runtime[Any]) -> Update:
        """Recall what the memory offers for the user's last message."""
        del runtime
        recalled = self.memory.recall(
            _episode(state["messages"])[0].text,
            environment=self.environment,
            scope=self.scope,
            budget_tokens=self.budget_tokens,
        )
        episode_id = f"agent:{uuid.uuid4()}"
        shown = [asdict(entry) for entry in recalled]
        return {"evolution": {"episode_id": episode_id, "recalled": shown}}

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Call the model with what was recalled in its system prompt."""
        return handler(_told(request))

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """Do what `wrap_model_call` does, without blocking the event loop."""
        return await handler(_told(request))

    def after_agent(self, state: EvolutionAgentState, runtime: Runtime[Any]) -> None:
        """Let the memory take in the episode."""
        del runtime
        begun = state["evolution"]
        messages = _episode(state["messages"])
        score = min(1.0, max(0.0, self.judge(messages)))
        self.memory.observe(
            Outcome(
                run_id=begun["episode_id"],
                episode_id=begun["episode_id"],
                environment=self.environment,
                task_id=begun["episode_id"],
                scope=self.scope,
                prompt=messages[0].text,
                turns=turns_of(messages),
                solved=score == 1.0,
                score=score,
                recalled=tuple(entry["id"] for entry in begun["recalled"]),
            )
        )


def _episode(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """Return the messages from the user's last one on."""
    asked = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    if not asked:
        raise ValueError(
            f"none of the {len(messages)} messages is from a user; invoke the agent with "
            '{"messages": [{"role": "user", "content": ...}]}'
        )
    return messages[asked[-1] :]


def _told(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """Return the request with what was recalled in its system prompt."""
    state: Any = request.state
    recalled = [Recalled(**entry) for entry in state["evolution"]["recalled"]]
    if not recalled:
        return request
    system = render_system(request.system_prompt or "", recalled).lstrip()
    return request.override(system_message=SystemMessage(system))
