"""`Ports`: what the strategies of a recipe are made from."""

from dataclasses import dataclass

from agentevo.acquisition.run_agent import RunAgent
from agentevo.recipes import Recipe
from agentevo_environments.sandboxes.base import Sandbox
from agentevo_memory.embedding.base import Embedder


@dataclass(frozen=True, slots=True)
class Ports:
    """What strategies are made from.

    Attributes:
        recipe: The choices.
        agent: Who attempts tasks and answers questions.
        embedder: Embeds texts.
        sandbox: A started sandbox for the feedback `execution`, or None.
    """

    recipe: Recipe
    agent: RunAgent
    embedder: Embedder
    sandbox: Sandbox | None = None

    def ask(self, prompt: str) -> str:
        """Ask the model."""
        return self.agent.ask(prompt)
