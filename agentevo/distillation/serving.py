"""Serving: a local model answers with the adapter that is active in a data folder."""

from pathlib import Path

from agentevo.distillation.registry import AdapterRegistry
from agentevo.errors import AdapterError
from agentevo.models import AnyModel


def serve_active(model: AnyModel, home: Path) -> str | None:
    """Let a model answer with the active adapter of a data folder, and return its id.

    A model to which adapters were given by hand keeps those, and models whose weights are not here
    have none.

    Raises:
        AdapterError: The active adapter belongs to another base model, or was changed.
    """
    folder = home / "adapters"
    if not folder.is_dir():
        return None
    from agentevo.models.llama.chat import ChatLlamaEngine

    if not isinstance(model, ChatLlamaEngine) or model.adapters is not None:
        return None
    registry = AdapterRegistry(folder)
    active, engine = registry.active_id, model.engine
    if active is None:
        engine.swap()
        return None
    adapter = registry.get(active)
    if adapter.manifest.base_sha256 != engine.model.file.sha256:
        raise AdapterError(
            f"the active adapter {active} belongs to another base model than "
            f"{str(engine.model.file.path)!r}, and its rules are not told; go back to the bare base "
            "(agentevo adapters activate base) or choose another --home"
        )
    loaded = engine.model.adapters.load(adapter.gguf)
    engine.swap(engine.adapter_set({loaded.id: 1.0}))
    return active
