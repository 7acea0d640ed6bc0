"""Serving an earlier or later generation again: memory and weights together, exactly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.evolution.distillers import distiller_of
from agentevo.evolution.locking import only_one
from agentevo.evolution.parts import SHIPPED, Parts, base_of
from agentevo.generations import Generation, GenerationLog, MemoryPosition
from agentevo.models import AnyModel
from agentevo.runtime import model_of
from agentevo.updating.distiller import Distiller
from agentevo_memory.restoring import Restored, restore
from agentevo_memory.retrieval import Weights


@dataclass(frozen=True, slots=True)
class RestoredGeneration:
    """What it took to serve a generation again.

    Attributes:
        id: The generation, which is served now.
        previous: The one that was served before.
        adapter_id: The adapter that is served now; None for the bare base.
        memory: What changed in the memory.
    """

    id: str
    previous: str | None
    adapter_id: str | None
    memory: Restored


def restore_generation(
    settings: Settings,
    name: str | None = None,
    *,
    spec: str | None = None,
    parts: Parts = SHIPPED,
) -> RestoredGeneration:
    """Serve a generation again: its memory, its search weights and its adapter.

    The memory's journal and the log go on; nothing is deleted, and a later generation can be
    restored in the same way. Doing it again, after a kill too, comes to the same.

    Args:
        settings: Home and memory. The model is the one that the generation was measured with,
            unless `parts` gives it.
        name: Id, its beginning, or a tag. Default: what was served before the present one.
        spec: Where the base model is now. Default: where it was when the generation was made.
        parts: A model or distiller in the place of the generation's.

    Raises:
        GenerationError: There is no such generation, or the gate refused it.
        RunError: The base model was replaced since.
        RecordError: The memory is another one.
        ModelError: The base model is not there any more.
        RunInUseError: An evolution works in this home.
    """
    log = GenerationLog(settings.home / "generations.sqlite")
    with only_one(settings.home):
        identifier = log.servable(name or log.previous_id)
        target, previous = log.get(identifier), log.served_id
        settings = _settings_of(settings, log, identifier, spec)
        model = parts.model or model_of(settings)
        _check_base(identifier, target, base_of(model, settings), settings)
        distiller = parts.distiller or _distiller(model, settings, target)
        reason = f"restored {identifier}"
        if target.adapter_id is not None and distiller is not None:
            distiller.serve(target.adapter_id, reason=reason)
        done = restore(
            settings.memory.path or settings.home / "memory",
            target.memory.seq,
            target.memory.head,
            (settings.memory.namespace,),
            Weights(**target.profile["search"]),
        )
        if target.adapter_id is None and distiller is not None:
            distiller.serve(None, reason=reason)
        position = MemoryPosition(done.seq, done.head)
        if (previous, log.served_at) != (identifier, position):
            log.serve(identifier, reason=f"restored after {previous}", at=position)
    return RestoredGeneration(identifier, previous, target.adapter_id, done)


def _settings_of(
    settings: Settings, log: GenerationLog, identifier: str, spec: str | None
) -> Settings:
    """Return the settings with the generation's environment, namespace and model."""
    profile: Mapping[str, Any] = log.get(identifier).profile
    made = next(e for e in log.entries("created") if e.generation_id == identifier)
    memory = settings.memory.model_copy(update={"namespace": profile["namespace"]})
    where = spec or made.content["evidence"]["model"]
    model = settings.model.model_copy(update={"spec": where})
    return settings.model_copy(update={"memory": memory, "model": model})


def _check_base(identifier: str, target: Generation, base: str, settings: Settings) -> None:
    if base != target.base_sha256:
        raise RunError(
            f"the base model of generation {identifier} was replaced: it was "
            f"{target.base_sha256[:12]!r}, {settings.model.spec!r} is {base[:12]!r} now; what was "
            "measured does not hold for it. Give the old model back, or evolve anew"
        )


def _distiller(model: AnyModel, settings: Settings, target: Generation) -> Distiller | None:
    """Return who serves adapters; None if the model has none and the generation needs none."""
    found = distiller_of(model, settings)
    if found is None and target.adapter_id is not None:
        raise RunError(
            f"the generation has the adapter {target.adapter_id}, which {settings.model.spec!r} "
            "cannot load; adapters need a local model"
        )
    return found
