"""Acting with the adapter that a home serves."""

from pathlib import Path

from agentevo.errors import AdapterError
from agentevo.models import AnyModel


def served_model(model: AnyModel, home: Path, *, told: bool) -> AnyModel:
    """Return the model with the adapter that the home serves; other models come back as they are.

    A local model to which adapters were given by hand keeps them.

    Args:
        model: Who acts.
        home: The data folder.
        told: Whether the home's memory is recalled from; what an adapter holds is not in it.

    Raises:
        AdapterError: The adapter was changed, or rules that the memory does not tell are held by
            an adapter of another base model.
    """
    adapters = home / "adapters"
    if not (adapters / "registry.sqlite").is_file():
        return model
    from agentevo.distillation.registry import AdapterRegistry
    from agentevo.models.llama.chat import ChatLlamaEngine

    registry = AdapterRegistry(adapters)
    active = registry.get(registry.active_id) if registry.active_id else None
    if isinstance(model, ChatLlamaEngine):
        if model.adapters is not None:
            return model
        if active is None:
            return model.model_copy(update={"adapters": {}})
        if active.manifest.base_sha256 == model.engine.model.file.sha256:
            loaded = model.engine.model.adapters.load(active.gguf)
            return model.model_copy(update={"adapters": {loaded.id: 1.0}})
    if active is not None and told:
        raise AdapterError(
            f"rules of {str(home)!r} are held by adapter {active.id}, which another base model cannot "
            "load; use that base, or tell the rules again with: agentevo generations rollback"
        )
    return model
