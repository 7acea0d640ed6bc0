"""What a sandbox must do with programs: results, streams, limits. Parts of `sandbox`'s checks."""

import time
import zlib

from agentevo_environments.conformance.checks import ConformanceError, require
from agentevo_environments.errors import LimitsError
from agentevo_environments.sandboxes.base import (
    DEFAULT_LIMITS,
    ExecResult,
    Limits,
    Program,
    Sandbox,
)

SHORT = Limits(timeout_s=1.0)
PROMPT_S = 5.0
"""How much later than its limit an execution may end; generous, for loaded machines."""

READ_ENVIRONMENTS = """
import glob, os
print(dict(os.environ))
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        print(open(path, "rb").read())
    except OSError:
        pass
"""
DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "86399"])
    os._exit(0)
time.sleep(600)
"""
COUNT_DAEMONS = """
import glob
found = 0
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        found += b"86399" in open(path, "rb").read()
    except OSError:
        pass
print(found)
"""


def _expect(result: ExecResult, *, stdout: str, exit_code: int = 0) -> None:
    seen = (result.ending, result.exit_code, result.stdout)
    require(seen == ("exited", exit_code, stdout), f"expected {stdout!r:.80}, got {result!r:.400}")


def _timed(sandbox: Sandbox, program: Program, limits: Limits) -> tuple[ExecResult, float]:
    began = time.monotonic()
    result = sandbox.exec(program, limits=limits)
    return result, time.monotonic() - began


def runs_code_as_main(sandbox: Sandbox) -> None:
    """Source runs as `__main__`, with the standard library."""
    code = "import json, sys\nif __name__ == '__main__': print(json.dumps([sys.argv is not None]))"
    _expect(sandbox.exec(Program(code=code)), stdout="[true]\n")


def passes_arguments_without_a_shell(sandbox: Sandbox) -> None:
    """Arguments reach the program unchanged."""
    result = sandbox.exec(Program(argv=("echo", "a  b", "$HOME;*")))
    _expect(result, stdout="a  b $HOME;*\n")


def returns_exit_codes(sandbox: Sandbox) -> None:
    """An exit status is data."""
    _expect(sandbox.exec(Program(code="raise SystemExit(7)")), stdout="", exit_code=7)
    _expect(sandbox.exec(Program(argv=("sh", "-c", "exit 9"))), stdout="", exit_code=9)


def returns_tracebacks(sandbox: Sandbox) -> None:
    """An uncaught exception is status 1 and a traceback on standard error."""
    result = sandbox.exec(Program(code="def f():\n    return {}['absent']\nf()"))
    _expect(result, stdout="", exit_code=1)
    require("KeyError: 'absent'" in result.stderr, f"no traceback: {result.stderr!r}")


def returns_syntax_errors(sandbox: Sandbox) -> None:
    """Source that does not compile is status 1 and the error on standard error."""
    result = sandbox.exec(Program(code="def"))
    _expect(result, stdout="", exit_code=1)
    require("SyntaxError" in result.stderr, f"no syntax error: {result.stderr!r}")


def returns_signals(sandbox: Sandbox) -> None:
    """A program that a signal killed has the negative number as its exit code."""
    result = sandbox.exec(Program(code="import os; os.kill(os.getpid(), 9)"))
    require((result.ending, result.exit_code) == ("killed", -9), f"not killed by 9: {result!r}")


def returns_missing_programs(sandbox: Sandbox) -> None:
    """A program that does not exist is exit code 127, as in a shell."""
    result = sandbox.exec(Program(argv=("no-such-program",)))
    _expect(result, stdout="", exit_code=127)
    require("no-such-program" in result.stderr, "the message does not name the program")


def passes_binary_input(sandbox: Sandbox) -> None:
    """Standard input is bytes, of any size."""
    data = bytes(range(256)) * 8192
    code = "import sys, zlib; print(zlib.crc32(sys.stdin.buffer.read()))"
    _expect(sandbox.exec(Program(code=code, stdin=data)), stdout=f"{zlib.crc32(data)}\n")


def ends_input(sandbox: Sandbox) -> None:
    """Without input, standard input is at its end; unread input does no harm."""
    _expect(
        sandbox.exec(Program(code="print(input() if 0 else repr(open(0).read()))")), stdout="''\n"
    )
    _expect(sandbox.exec(Program(code="print(1)", stdin=b"x" * 1_000_000)), stdout="1\n")


def replaces_undecodable_output(sandbox: Sandbox) -> None:
    """Output that is not UTF-8 arrives with replacement characters."""
    result = sandbox.exec(
        Program(code="import os; os.write(1, b'a\\xff\\xfeb'); os.write(2, b'\\x80')")
    )
    _expect(result, stdout="a\ufffd\ufffdb")
    require(result.stderr == "\ufffd", f"standard error was {result.stderr!r}")


def keeps_streams_apart(sandbox: Sandbox) -> None:
    """Standard output and standard error are separate and complete."""
    code = "import sys\nfor i in range(99): print(i); print(-i, file=sys.stderr)"
    result = sandbox.exec(Program(code=code))
    _expect(result, stdout="".join(f"{i}\n" for i in range(99)))
    require(
        result.stderr == "".join(f"{-i}\n" for i in range(99)), "standard error is not complete"
    )


def returns_output_at_the_limit_whole(sandbox: Sandbox) -> None:
    """As much output as is allowed is not truncated."""
    size = DEFAULT_LIMITS.output_bytes
    result = sandbox.exec(Program(code=f"import sys; sys.stdout.write('x' * {size})"))
    _expect(result, stdout="x" * size)
    require(not result.truncated, "output at the limit is marked truncated")


def ends_floods(sandbox: Sandbox) -> None:
    """More output than allowed, on either stream, ends the execution; the first part is kept."""
    limits = Limits(output_bytes=10_000)
    for descriptor in (1, 2):
        code = f"import os\nwhile True: os.write({descriptor}, b'y' * 65536)"
        result, seconds = _timed(sandbox, Program(code=code), limits)
        text = result.stdout if descriptor == 1 else result.stderr
        ended = (result.ending, result.exit_code, result.truncated)
        require(ended == ("output_limit", None, True), f"a flood ended as {ended!r}")
        require(text == "y" * 10_000, f"{len(text)} characters were kept, not 10000")
        require(seconds < limits.timeout_s, "a flood ended only at the time limit")


def ends_at_the_time_limit(sandbox: Sandbox) -> None:
    """A busy loop that ignores signals ends on time; what it printed before is kept."""
    code = (
        "import signal\nfor s in (1, 2, 3, 15): signal.signal(s, signal.SIG_IGN)\n"
        "print('before', flush=True)\nwhile True: pass"
    )
    result, seconds = _timed(sandbox, Program(code=code), SHORT)
    require((result.ending, result.exit_code) == ("timeout", None), f"it ended as {result!r}")
    require(result.stdout == "before\n", "output before the time limit was lost")
    require(seconds < SHORT.timeout_s + PROMPT_S, f"it took {seconds:.1f} s")


def ends_hangs_in_c_at_the_time_limit(sandbox: Sandbox) -> None:
    """A computation that does not return to the interpreter, and needs little memory, ends on time."""
    code = "pow(7, 10 ** (10 ** 5), 10 ** (10 ** 5) - 1)"
    result, seconds = _timed(sandbox, Program(code=code), SHORT)
    require(result.ending == "timeout", f"it ended as {result!r}")
    require(seconds < SHORT.timeout_s + PROMPT_S, f"it took {seconds:.1f} s")


def kills_children_at_the_time_limit(sandbox: Sandbox) -> None:
    """Processes that left the session of the program die with it."""
    result, seconds = _timed(sandbox, Program(code=DAEMON), SHORT)
    require(result.ending == "timeout", f"it ended as {result!r}")
    require(seconds < SHORT.timeout_s + PROMPT_S, f"it took {seconds:.1f} s")
    _expect(sandbox.exec(Program(code=COUNT_DAEMONS)), stdout="0\n")


def does_not_wait_for_children(sandbox: Sandbox) -> None:
    """A child in the background, holding the output open, delays nothing and dies."""
    code = "import os, time\nif os.fork() == 0:\n    time.sleep(600)\nprint('done')"
    result, seconds = _timed(sandbox, Program(code=code), DEFAULT_LIMITS)
    _expect(result, stdout="done\n")
    require(seconds < PROMPT_S, f"it took {seconds:.1f} s")


def limits_memory(sandbox: Sandbox) -> None:
    """More memory than allowed is not given, and the sandbox works on."""
    code = "b = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): b[i] = 1\nprint('got it')"
    result = sandbox.exec(Program(code=code), limits=Limits(memory_bytes=128 << 20))
    require("got it" not in result.stdout and not result.ok, "1 GiB was given within 128 MiB")
    require(result.ending == "memory_limit", f"it ended as {result.ending!r}")
    _expect(sandbox.exec(Program(code="print(1)")), stdout="1\n")


def limits_processes(sandbox: Sandbox) -> None:
    """More processes than allowed cannot be made, and the sandbox works on."""
    code = (
        "import os, time\nn = 0\ntry:\n    for n in range(200):\n"
        "        if os.fork() == 0:\n            time.sleep(60)\n"
        "except OSError:\n    pass\nprint(n)"
    )
    result = sandbox.exec(Program(code=code), limits=Limits(processes=20))
    require(result.ok and int(result.stdout) <= 20, f"{result.stdout!r} processes were made")  # noqa: PLR2004
    _expect(sandbox.exec(Program(code="print(1)")), stdout="1\n")


def limits_open_files(sandbox: Sandbox) -> None:
    """More open files than allowed are refused."""
    code = "import os\ntry:\n    while True: last = os.dup(1)\nexcept OSError: print(last < 64)"
    _expect(sandbox.exec(Program(code=code), limits=Limits(open_files=64)), stdout="True\n")


def refuses_impossible_limits(sandbox: Sandbox) -> None:
    """Limits of zero, below zero and without end are errors of the caller."""
    del sandbox
    for name in ("timeout_s", "memory_bytes", "output_bytes", "processes"):
        for value in (0, -1, float("inf"), float("nan")):
            try:
                Limits(**{name: value})  # type: ignore[arg-type]
            except LimitsError:
                continue
            raise ConformanceError(f"Limits({name}={value!r}) was accepted")


CHECKS = (
    runs_code_as_main,
    passes_arguments_without_a_shell,
    returns_exit_codes,
    returns_tracebacks,
    returns_syntax_errors,
    returns_signals,
    returns_missing_programs,
    passes_binary_input,
    ends_input,
    replaces_undecodable_output,
    keeps_streams_apart,
    returns_output_at_the_limit_whole,
    ends_floods,
    ends_at_the_time_limit,
    ends_hangs_in_c_at_the_time_limit,
    kills_children_at_the_time_limit,
    does_not_wait_for_children,
    limits_memory,
    limits_processes,
    limits_open_files,
    refuses_impossible_limits,
)
"""Checks that need a started sandbox."""
