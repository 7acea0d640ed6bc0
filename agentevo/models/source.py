"""`ModelSource`: where the model of one episode comes from.

Most models serve every episode alike and are their own source. A source that replays known answers
makes a model per task instead.
"""

from typing import Protocol, TypeAlias, runtime_checkable

from langchain_core.language_models import BaseChatModel

from agentevo_environments.environment import Environment
from agentevo_environments.task import Task


@runtime_checkable
class ModelSource(Protocol):
    """Makes the chat model of an episode. Calls may come from several threads."""

    def for_episode(self, environment: Environment, task: Task) -> BaseChatModel:
        """Return the model that acts on `task`; the same task gives the same behaviour.

        Raises:
            ModelError: There is no model for this task.
        """
        ...


AnyModel: TypeAlias = BaseChatModel | ModelSource


def model_for_episode(model: AnyModel, environment: Environment, task: Task) -> BaseChatModel:
    """Return the chat model that acts on `task`: `model` itself unless it is a `ModelSource`."""
    if isinstance(model, BaseChatModel):
        return model
    return model.for_episode(environment, task)
