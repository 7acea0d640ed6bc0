"""What the user sees when a command fails: one message, the next step, an exit code.

This is where every error of the product ends; a traceback is shown with `--debug` only.
"""

import sys
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

from agentevo.cli.output import complain, error_envelope, print_json


class ExitCode(IntEnum):
    """The documented exit codes."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    STOPPED = 3


# typer's own code for Ctrl-C.
_INTERRUPTED = 130

_HINTS = {
    "RecipeError": "agentevo recipes list (the recipes that exist)",
    "ConfigError": "agentevo config show (the settings and their origins)",
    "UnknownModelError": "agentevo doctor (the models that work here)",
    "UnknownNameError": "agentevo envs list (the environments that are installed)",
    "RunInUseError": "agentevo runs list (the runs and their state)",
    "RunError": "agentevo runs list (the runs and their state)",
    "SandboxUnavailableError": "agentevo doctor (what works on this machine)",
    "OSError": "agentevo doctor (disk space and permissions)",
}


def guarded(command: Callable[[], Any], args: Sequence[str]) -> int:
    """Run a command and return its exit code; errors become one message on stderr or one document.

    Args:
        command: What to run; may return an exit code.
        args: The command line, which says whether `--json` and `--debug` were asked for.
    """
    started = time.monotonic()
    try:
        code = command()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except Exception as error:  # noqa: BLE001 (the end of the line for every error)
        if "--debug" in args:
            _print_traceback()
        message, hint, exit_code = _describe(error, args)
        return _fail(type(error).__name__, message, hint, exit_code, args=args, started=started)
    if code == _INTERRUPTED:
        message = "stopped by Ctrl-C; what was finished is kept"
        hint = "agentevo runs list, then agentevo resume RUN"
        return _fail("Interrupted", message, hint, ExitCode.STOPPED, args=args, started=started)
    return code if isinstance(code, int) else ExitCode.DONE


def _fail(
    kind: str, message: str, hint: str, code: ExitCode, *, args: Sequence[str], started: float
) -> int:
    if "--json" in args:
        duration_s = time.monotonic() - started
        print_json(error_envelope(_command_name(args), duration_s, kind, message, hint))
    elif message:
        complain(message, hint)
    return code


def _describe(error: Exception, args: Sequence[str]) -> tuple[str, str, ExitCode]:
    if hasattr(error, "format_message"):
        message = error.format_message()  # empty after help was shown instead
        return (
            message,
            f"agentevo {_command_name(args)} --help".replace("  ", " "),
            ExitCode.BAD_INPUT,
        )
    names = [kind.__name__ for kind in type(error).__mro__]
    hint = next((_HINTS[name] for name in names if name in _HINTS), "")
    if isinstance(error, OSError):
        return _describe_os_error(error), hint, ExitCode.FAILED
    if {"AgentevoError", "EnvironmentsError", "MemoryStoreError"} & set(names):
        bad_input = isinstance(error, ValueError | LookupError)
        return str(error), hint, ExitCode.BAD_INPUT if bad_input else ExitCode.FAILED
    message = f"internal error: {type(error).__name__}: {error}"
    return message, "run it again with --debug and report the traceback", ExitCode.FAILED


def _describe_os_error(error: OSError) -> str:
    where = f": {str(error.filename)!r}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _command_name(args: Sequence[str]) -> str:
    """Return the leading words of a command line, such as "runs show"; never an argument."""
    from agentevo.cli.mounts import MOUNTS

    verbs = {mount.name: mount.verb for mount in MOUNTS}
    words = list(args)
    while words and words[0] not in verbs:
        words.pop(0)
    if not words:
        return ""
    group = not verbs[words[0]] and len(words) > 1 and not words[1].startswith("-")
    return " ".join(words[: 2 if group else 1])


def _print_traceback() -> None:
    import traceback

    traceback.print_exc(file=sys.stderr)
