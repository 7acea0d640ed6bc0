"""`Distiller`: the port through which an evolution makes, probes and serves adapters.

`LocalDistiller` is the one for a local GGUF model: it trains on the very file that is served, and
swaps adapters in the engine that is running.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agentevo.gate import Criterion
from agentevo.gate.criteria import Pair
from agentevo.models import AnyModel
from agentevo.updating.in_context import InContextMemory

if TYPE_CHECKING:
    from agentevo.distillation.distiller import Distiller as Distillation
    from agentevo.distillation.probes import AdapterProbes
    from agentevo.distillation.registry import AdapterRegistry
    from agentevo.distillation.settings import TrainSettings
    from agentevo.models.llama.chat import ChatLlamaEngine
    from agentevo_environments.environment import Environment

BLOCK = 16
"""Questions that are asked at the same time."""

OnStep = Callable[[Mapping[str, Any]], None]
"""Called with the progress of a training: step, steps, losses."""


def _silent(progress: Mapping[str, Any]) -> None:
    del progress


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an adapter is to be made of.

    Attributes:
        label: Names the distillation; the same label again continues or returns the same one.
        memory: Where every live rule is told, none held by weights.
        practice: `checkpoints.sqlite` of runs that were done with that memory.
        held_out: Prompts that no row may hold.
        on_step: Called with the progress.
    """

    label: str
    memory: InContextMemory
    practice: Sequence[Path]
    held_out: Sequence[str]
    on_step: OnStep = _silent


@dataclass(frozen=True, slots=True)
class Distilled:
    """An adapter that was made and is not served.

    Attributes:
        adapter_id: The adapter.
        rule_ids: The rules that it holds.
        figures: What was counted and measured while it was made.
    """

    adapter_id: str
    rule_ids: tuple[str, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probed:
    """Questions by which the gate compares an adapter with the base, outside any environment.

    Attributes:
        criteria: What to show, each with its margin.
        tasks: Ids of the questions of each criterion.
        score: Scores of adapter and base on one question.
    """

    criteria: tuple[Criterion, ...]
    tasks: Mapping[str, Sequence[str]]
    score: Callable[[str, str], Pair]


class Distiller(Protocol):
    """Makes and serves adapters of one base model. All of it may be done again after a kill."""

    @property
    def active_id(self) -> str | None:
        """The adapter that is served; None for the bare base."""
        ...

    def holds(self, adapter_id: str) -> tuple[str, ...]:
        """Return the ids of the rules that an adapter holds."""
        ...

    def distil(self, lesson: Lesson) -> Distilled:
        """Make an adapter; it is not served.

        Raises:
            AdapterError: There is nothing to distil, or the training broke.
        """
        ...

    def model(self, adapter_id: str | None) -> AnyModel:
        """Return the model with an adapter, or the bare base."""
        ...

    def probes(self, adapter_id: str, memory: InContextMemory, episodes: Sequence[Path]) -> Probed:
        """Return what must not have changed.

        Args:
            adapter_id: The adapter.
            memory: Where every live rule is told.
            episodes: `checkpoints.sqlite` of held-out episodes done with that memory.
        """
        ...

    def serve(self, adapter_id: str | None, *, reason: str) -> None:
        """Answer every later request with an adapter, or with the bare base.

        Raises:
            AdapterError: The adapter is unknown or was changed.
        """
        ...


@dataclass(slots=True)
class LocalDistiller:
    """Distils into adapters of the GGUF file that a `ChatLlamaEngine` serves.

    Attributes:
        home: The data folder; adapters lie in `<home>/adapters`.
        chat: Who acts; its sampling is kept.
        make_environment: Makes an environment, for its instructions and tools.
        fresh_scopes: Scope names that no task of the evolution uses.
        train: Every number of the training.
        margin: How much worse than the base an adapter may be at what must not change.
    """

    home: Path
    chat: "ChatLlamaEngine"
    make_environment: "Callable[[], Environment]"
    fresh_scopes: Sequence[str]
    train: "TrainSettings"
    margin: float = 0.1

    @property
    def registry(self) -> "AdapterRegistry":
        """The adapters of the home."""
        from agentevo.distillation.registry import AdapterRegistry

        return AdapterRegistry(self.home / "adapters")

    @property
    def active_id(self) -> str | None:
        """The adapter that is served; None for the bare base."""
        return self.registry.active_id

    def holds(self, adapter_id: str) -> tuple[str, ...]:
        """Return the ids of the rules that an adapter holds."""
        return self.registry.get(adapter_id).manifest.rule_ids

    def distil(self, lesson: Lesson) -> Distilled:
        """Make an adapter of the episodes that were solved with verified rules in the prompt."""
        from agentevo.distillation.decontamination import Decontaminator

        adapter = self._distillation(lesson.memory).distil(
            lesson.practice,
            label=lesson.label,
            evaluation=Decontaminator(lesson.held_out),
            on_step=lambda step: lesson.on_step(
                {"step": step.step, "steps": step.steps, "losses": dict(step.losses)}
            ),
        )
        return Distilled(adapter.id, adapter.manifest.rule_ids, dict(adapter.manifest.metrics))

    def model(self, adapter_id: str | None) -> "ChatLlamaEngine":
        """Return the chat model with an adapter loaded into its engine, or as the bare base."""
        if adapter_id is None:
            return self.chat.model_copy(update={"adapters": {}})
        loaded = self.chat.engine.model.adapters.load(self.registry.get(adapter_id).gguf)
        return self.chat.model_copy(update={"adapters": {loaded.id: 1.0}})

    def probes(self, adapter_id: str, memory: InContextMemory, episodes: Sequence[Path]) -> Probed:
        """Return the probes for keeping rules, other scopes, conflicts and format."""
        from agentevo.distillation.probes import weight_criteria

        adapter = self.registry.get(adapter_id)
        found = self._distillation(memory).probes(adapter, episodes)
        wanted = weight_criteria(margin=self.margin)
        kept = tuple(c for c in wanted if c.name != "gain" and found.tasks.get(c.name))
        return Probed(kept, found.tasks, _in_blocks(found))

    def serve(self, adapter_id: str | None, *, reason: str) -> None:
        """Point at the adapter and swap it in the running engine; no request is dropped."""
        adapters = self.model(adapter_id).adapters or {}
        if self.active_id != adapter_id:
            self.registry.activate(adapter_id, reason)
        self.chat.engine.swap(self.chat.engine.adapter_set(adapters))

    def _distillation(self, memory: InContextMemory) -> "Distillation":
        from agentevo.distillation.distiller import Distiller as Distillation
        from agentevo.updating.in_weight import setting_of

        environment = self.make_environment()
        try:
            setting = setting_of(environment, memory.store, memory.namespace)
        finally:
            environment.close()
        return Distillation(
            home=self.home,
            base=self.chat.engine.model.file.path,
            setting=setting,
            fresh_scopes=self.fresh_scopes,
            train=self.train,
        )


def _in_blocks(probes: "AdapterProbes") -> Callable[[str, str], Pair]:
    """Return the scores of `probes`, asked block by block: the engine answers many at once."""

    def score(criterion: str, item: str) -> Pair:
        asked = probes.tasks[criterion]
        start = asked.index(item) // BLOCK * BLOCK
        if asked[start] == item:
            block = asked[start : start + BLOCK]
            with ThreadPoolExecutor(BLOCK) as pool:
                list(pool.map(probes.score, [criterion] * len(block), block))
        return probes.score(criterion, item)

    return score
