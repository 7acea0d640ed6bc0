"""What can go wrong between a request and the local engine, one type per cause."""

from langchain_core.exceptions import ContextOverflowError as LangChainContextOverflowError

from agentevo.errors import ModelError


class ContextOverflowError(ModelError, LangChainContextOverflowError):
    """The prompt leaves no room for an answer in the context window."""


class EngineBusyError(ModelError):
    """The waiting line of the engine is full; send fewer requests at once or wait."""


class EngineClosedError(ModelError):
    """The engine was closed before the request was finished."""


class GenerationTimeoutError(ModelError, TimeoutError):
    """The request was not finished within its time limit."""


class SchemaError(ModelError, ValueError):
    """A JSON Schema that no bounded grammar can express exactly."""


class TemplateError(ModelError, ValueError):
    """A chat template that is missing, broken, or refuses the conversation."""
