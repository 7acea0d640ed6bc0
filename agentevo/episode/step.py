"""`Step`: a node of the episode together with its way on, as one runnable.

A conditional edge would read the whole state again, and a `RunnableLambda` would trace a node that
the graph traces already; a step with its own `Command` costs neither.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.types import Command

from agentevo.episode.state import EpisodeState

Update: TypeAlias = dict[str, Any]


class Step(Runnable[EpisodeState, Command[str]]):
    """A node that returns its update and the name of the next node.

    Args:
        do: Reads the state and returns the update.
        route: Names the next node, from the state with the update in it; of the messages it sees
            those of the update, if there are any.
        ado: Does what `do` does without blocking the event loop; default: `do` in a thread.
    """

    def __init__(
        self,
        do: Callable[[EpisodeState], Update],
        route: Callable[[EpisodeState], str],
        *,
        ado: Callable[[EpisodeState], Awaitable[Update]] | None = None,
    ) -> None:
        self._do = do
        self._route = route
        self._ado = ado

    def invoke(
        self,
        input: EpisodeState,  # noqa: A002 (named by LangChain)
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Command[str]:
        """Do the node and return the update with the way on."""
        return self._command(input, self._do(input))

    async def ainvoke(
        self,
        input: EpisodeState,  # noqa: A002 (named by LangChain)
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Command[str]:
        """Like `invoke`, beside the event loop."""
        if self._ado is None:
            return await super().ainvoke(input, config, **kwargs)
        return self._command(input, await self._ado(input))

    def _command(self, state: EpisodeState, update: Update) -> Command[str]:
        after = cast(EpisodeState, {**state, **update})
        return Command(update=update, goto=self._route(after))
