"""`EvolutionContext`: the live parts of an evolution, handed to the nodes and never checkpointed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agentevo.acquisition.run_agent import RunAgent
from agentevo.evaluation.splits import Splits
from agentevo.events import Event, make_event
from agentevo.generations import Generation, GenerationLog, MemoryPosition
from agentevo.graph.assembly import Stages
from agentevo.graph.lines import MemoryLine
from agentevo.objective import Objective
from agentevo.recipes import Recipe
from agentevo.stages import Round


@dataclass(frozen=True, slots=True)
class EvolutionContext:
    """What the nodes work with.

    Attributes:
        id: The evolution.
        recipe: Which strategies.
        rounds: Rounds at most.
        objective: What to get better at, as a tree.
        seed: Seed of everything that is drawn.
        splits: The tasks.
        stages: The strategies, ready to be called.
        agent: Who acts.
        line: The served memory and its branches.
        log: The generations.
        base: Identity of the base model.
        on_event: Called with every event.
    """

    id: str
    recipe: Recipe
    rounds: int
    objective: Objective
    seed: int
    splits: Splits
    stages: Stages
    agent: RunAgent
    line: MemoryLine
    log: GenerationLog
    base: str
    on_event: Callable[[Event], None] = field(default=lambda event: None)

    def now(self, number: int, ability: str, history: dict[str, float]) -> Round:
        """Return what the stages of a round may look at."""
        leaf = next(leaf for leaf in self.objective.leaves() if leaf.ability == ability)
        return Round(number, leaf, self.seed * 100_003 + number, history)

    def generation(self, memory: MemoryPosition) -> Generation:
        """Return the generation that serves `memory`."""
        settings = self.agent.settings
        profile = {
            "environment": self.agent.environment,
            "namespace": settings.memory.namespace,
            "k": settings.memory.k,
            "budget_tokens": settings.memory.budget_tokens,
        }
        return Generation(self.base, None, memory, profile)

    def tell(self, name: str, number: int, **data: Any) -> None:
        """Report an event of a round."""
        self.on_event(make_event(name, self.id, data, iteration=number))
