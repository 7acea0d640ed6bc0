"""`EvolutionContext`: the live parts of an evolution, handed to the nodes and never checkpointed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from agentevo.acquisition.run_agent import RunAgent
from agentevo.evaluation.splits import Splits
from agentevo.events import Event, make_event
from agentevo.generations import Generation, GenerationLog, MemoryPosition
from agentevo.graph.assembly import Stages
from agentevo.graph.lines import SERVED, MemoryLine
from agentevo.objective import Objective
from agentevo.recipes import Recipe
from agentevo.stages import Round
from agentevo.updating.distiller import Distiller


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
        distiller: Makes and serves adapters; None where the model has none.
        commands: Returns how many distillations were commanded so far.
        on_event: Called with every event.
        meanwhile: Work that is done beside a distillation, in a thread of its own; safe to do again.
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
    distiller: Distiller | None = None
    commands: Callable[[], int] = field(default=lambda: 0)
    on_event: Callable[[Event], None] = field(default=lambda event: None)
    meanwhile: "Callable[[EvolutionContext], None]" = field(default=lambda context: None)

    def now(self, number: int, ability: str, history: dict[str, float]) -> Round:
        """Return what the stages of a round may look at."""
        leaf = next(leaf for leaf in self.objective.leaves() if leaf.ability == ability)
        return Round(number, leaf, self.seed * 100_003 + number, history)

    @property
    def served_adapter(self) -> str | None:
        """The adapter of the generation that is served; None for the bare base."""
        served = self.log.served_id
        return self.log.get(served).adapter_id if served else None

    @property
    def bare_agent(self) -> RunAgent:
        """The agent without any adapter."""
        if self.distiller is None:
            return self.agent
        return self.agent.with_model(self.distiller.model(None))

    def take_up(self) -> None:
        """Let the agent act as the served generation does, in a process that has just begun.

        Where a kill came between serving an adapter and noting it, the log counts for the agent; the
        verdict that is about to be repeated makes the rest good.
        """
        if self.distiller is not None:
            self.distiller.serve(self.distiller.active_id, reason=f"{self.id} goes on")
            self.agent.model = self.distiller.model(self.served_adapter)

    def serve_adapter(self, adapter_id: str | None, reason: str) -> None:
        """Let the agent, and everybody else in this home, act with an adapter."""
        if self.distiller is not None:
            self.distiller.serve(adapter_id, reason=reason)
            self.agent.model = self.distiller.model(adapter_id)

    def generation(
        self, branch: str, adapter_id: str | None, *, at: MemoryPosition | None = None
    ) -> Generation:
        """Return the generation that serves a branch of the memory with an adapter.

        Args:
            branch: The branch; SERVED for what is served.
            adapter_id: The adapter, or None for the bare base.
            at: A position that is known to hold the same; None for where the branch stands.
        """
        settings = self.agent.settings
        profile = {
            "environment": self.agent.environment,
            "namespace": settings.memory.namespace,
            "k": settings.memory.k,
            "notes": settings.memory.notes,
            "budget_tokens": settings.memory.budget_tokens,
            "search": asdict(self.line.weights(branch)),
        }
        position = at or self.line.position(branch)
        return Generation(self.base, adapter_id, position, profile)

    def present(self) -> Generation:
        """Return the generation that acts now, whether the log knows it or not."""
        adapter = self.distiller.active_id if self.distiller else None
        at = self.log.get("served").memory if self._is_restored() else None
        return self.generation(SERVED, adapter, at=at)

    def _is_restored(self) -> bool:
        """Whether the served memory stands where the served generation was last put."""
        return self.log.served_id is not None and self.log.served_at == self.line.position()

    def tell(self, name: str, number: int, **data: Any) -> None:
        """Report an event of a round."""
        self.on_event(make_event(name, self.id, data, iteration=number))
