"""Models: any LangChain chat model, found by a name; scripted ones for tests and known answers."""

from agentevo.models.naming import init_model
from agentevo.models.source import AnyModel, ModelSource, model_for_episode

__all__ = ["AnyModel", "ModelSource", "init_model", "model_for_episode"]
