"""The errors of the runtime, one type per boundary, each telling the user the next step.

A failed episode is a recorded outcome, not an error. Errors of the sister packages
(`EnvironmentsError`, `MemoryStoreError`) pass through unchanged; the command line turns all of
them into one message and an exit code.
"""


class AgentevoError(Exception):
    """Base of every error of the runtime. The message names the cause and the next step."""


class ConfigError(AgentevoError, ValueError):
    """A setting that does not exist or is out of range."""


class RecipeError(ConfigError):
    """A recipe that does not exist, cannot be read, or says something that is not possible."""


class ModelError(AgentevoError, RuntimeError):
    """A model that cannot be loaded, or that failed to answer."""


class UnknownModelError(ModelError, LookupError):
    """A model name that resolves to nothing; the message lists the forms that exist."""


class ModelOptionError(ModelError, ValueError):
    """An option of a model or of a request that does not exist or is out of range."""


class RunError(AgentevoError, RuntimeError):
    """A run that cannot start, continue or be found."""


class UnknownRunError(RunError, LookupError):
    """A run, or an episode of it, that does not exist; the message names those that do."""


class RunInUseError(RunError):
    """Another process is working on this run."""


class AdapterError(AgentevoError, ValueError):
    """A LoRA adapter that is damaged, foreign to the base model, or unknown."""
