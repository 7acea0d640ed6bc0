"""The errors that environments and sandboxes raise; every one derives from `EnvironmentsError`.

A failing program is data (`ExecResult`), a failing episode is data (`Grade`); only a broken
part of the machinery raises. `EnvironmentError` is not used: it is Python's alias of `OSError`.
"""


class EnvironmentsError(Exception):
    """Base of every error of this package. The message names the cause and the next step."""


class UnknownNameError(EnvironmentsError, LookupError):
    """A name (environment, task, tool, backend) that does not exist; the message lists those that do."""


class RegistrationError(EnvironmentsError, ImportError):
    """An environment that is registered but cannot be imported or is none; the message says why."""


class OptionError(EnvironmentsError, ValueError):
    """An option that an environment needs and was not given, or whose value it refuses."""


class TaskFileError(EnvironmentsError, ValueError):
    """A task file that cannot be read; the message names the file and the line."""


class ActionError(EnvironmentsError, ValueError):
    """An action that is not valid for the environment at this moment."""


class LimitsError(EnvironmentsError, ValueError):
    """A limit outside its range."""


class SandboxError(EnvironmentsError, RuntimeError):
    """Base of the sandbox failures: the machinery failed, not the program that ran in it."""


class SandboxUnavailableError(SandboxError):
    """The backend cannot start on this machine; the message says what to install or configure."""


class SandboxDiedError(SandboxError):
    """A started sandbox has stopped answering; provision a new one."""


class ProtocolError(SandboxError):
    """The other side sent a frame that is malformed, too large, or of another protocol version."""
