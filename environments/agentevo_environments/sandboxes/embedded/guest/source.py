"""Source: run Python source as `__main__` in this interpreter, as `python -c` would."""

import atexit
import builtins
import io
import linecache
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

NAME = "<program>"
STREAMS = (
    (0, "stdin", "r", "surrogateescape"),
    (1, "stdout", "w", "surrogateescape"),
    (2, "stderr", "w", "backslashreplace"),  # flushed at every line, as an interpreter does
)
OWN_PACKAGE = "agentevo_environments"


def prepare(first: Sequence[str], last: Sequence[str], environment: Mapping[str, str]) -> None:
    """Make this process, and so its forks, look like a fresh interpreter.

    Programs get the standard descriptors of their own later, of the same kinds as there are here:
    a file to read from, and pipes. What is built here is not built again in every program.

    Args:
        first: Folders to import from before the standard library.
        last: Folders to import from after it.
        environment: The environment variables.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == OWN_PACKAGE]:
        del sys.modules[name]
    main = types.ModuleType("__main__")
    vars(main)["__builtins__"] = builtins
    sys.modules["__main__"] = main
    sys.argv[:] = [NAME]
    sys.path[:] = [*first, *sys.path, *last]
    os.environ.clear()
    os.environ.update(environment)
    stdin, (read, write) = os.memfd_create(NAME), os.pipe()
    for descriptor, number in ((stdin, 0), (write, 1), (write, 2)):
        os.dup2(descriptor, number)
    for descriptor in (stdin, read, write):
        os.close(descriptor)
    for number, name, mode, errors in STREAMS:
        stream = _open(number, mode, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rehearse()


def rehearse() -> None:
    """Run an empty program, so that a later one finds what it touches made, and copied."""
    run(b"print(end='')")


def run(code: bytes) -> int:
    """Run UTF-8 source to its end, threads and exit handlers included; return the exit status."""
    status = _guard(lambda: _execute(code))
    ending = _guard(_finish)
    return status or ending


def _execute(code: bytes) -> None:
    text = code.decode("utf-8", "surrogatepass")
    linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
    exec(compile(text, NAME, "exec"), vars(sys.modules["__main__"]))


def _open(descriptor: int, mode: str, errors: str) -> io.TextIOWrapper:
    buffering = 1 if descriptor == 2 else -1  # noqa: PLR2004
    stream = open(  # noqa: SIM115
        descriptor, mode, buffering, encoding="utf-8", errors=errors, closefd=False
    )
    assert isinstance(stream, io.TextIOWrapper)
    return stream


def _finish() -> None:
    if threads := sys.modules.get("threading"):
        threads._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.__stdout__):
        if stream is not None and not stream.closed:
            stream.flush()


def _guard(call: Callable[[], object]) -> int:
    """Call and return the exit status that its ending means to an interpreter."""
    try:
        call()
    except SystemExit as error:
        return _exit_status(error)
    except BaseException as error:  # noqa: BLE001 (every ending of a program is an exit status)
        _report(error)
        return 1
    return 0


def _exit_status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    with suppress(OSError, ValueError):
        print(error.code, file=sys.stderr)  # noqa: T201
    return 1


def _report(error: BaseException) -> None:
    """Print a traceback of the program's own frames, on standard error."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    try:
        if sys.excepthook is sys.__excepthook__:
            traceback.print_exception(type(error), error, own, file=sys.stderr)
        else:
            sys.excepthook(type(error), error, own)
    except Exception:  # noqa: BLE001 (out of memory, a closed stream, a broken hook)
        with suppress(OSError):
            os.write(2, f"{type(error).__name__}\n".encode())
