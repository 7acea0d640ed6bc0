import errno
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.cli.failures import ExitCode, guarded
from agentevo.cli.lazy import _globals_first
from agentevo.errors import AgentevoError, ConfigError, RunError, RunInUseError, UnknownModelError
from agentevo_environments.errors import (
    EnvironmentsError,
    SandboxUnavailableError,
    TaskFileError,
    UnknownNameError,
)


def raising(error: BaseException) -> Callable[[], Any]:
    def command() -> Any:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("m"), ExitCode.BAD_INPUT),
        (UnknownModelError("m"), ExitCode.BAD_INPUT),
        (UnknownNameError("m"), ExitCode.BAD_INPUT),
        (TaskFileError("m"), ExitCode.BAD_INPUT),
        (AgentevoError("m"), ExitCode.FAILED),
        (RunError("m"), ExitCode.FAILED),
        (RunInUseError("m"), ExitCode.FAILED),
        (EnvironmentsError("m"), ExitCode.FAILED),
        (SandboxUnavailableError("m"), ExitCode.FAILED),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), ExitCode.FAILED),
        (ZeroDivisionError("m"), ExitCode.FAILED),
        (KeyboardInterrupt(), ExitCode.STOPPED),
    ],
)
def test_every_error_is_one_message_and_a_documented_code(
    error: BaseException, code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), ["run"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "Traceback" not in printed.err


def test_with_json_an_error_is_one_document_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code = guarded(raising(UnknownNameError("no such thing")), ["runs", "show", "r1", "--json"])
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (code, printed.err) == (ExitCode.BAD_INPUT, "")
    assert (document["status"], document["command"]) == ("error", "runs show")
    assert document["error"]["type"] == "UnknownNameError"
    assert document["error"]["message"] == "no such thing"
    assert document["error"]["hint"]


def test_a_bug_shows_its_traceback_with_debug_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyError("x")), ["run", "--debug"]) == ExitCode.FAILED
    assert "Traceback" in capsys.readouterr().err
    assert guarded(raising(KeyError("x")), ["run"]) == ExitCode.FAILED
    assert "internal error: KeyError: 'x'" in capsys.readouterr().err


def test_a_full_disk_is_named_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(raising(OSError(errno.ENOSPC, "No space left on device", "/data/x")), ["run"])
    assert "No space left on device: '/data/x'" in capsys.readouterr().err


def test_a_command_may_return_its_exit_code() -> None:
    assert guarded(lambda: 3, []) == 3
    assert guarded(lambda: None, []) == 0


words = st.sampled_from(["run", "--home", "h", "--home=h", "--debug", "--json", "--", "x"])


@given(st.lists(words, max_size=8))
def test_moving_global_options_to_the_front_loses_no_word(args: list[str]) -> None:
    moved = _globals_first(args)
    assert sorted(moved) == sorted(args)
    if "--" in args:
        assert moved[moved.index("--") :] == args[args.index("--") :] or "--home" in args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["runz"], "No such command 'runz'"),
        (["run", "--n", "many"], "'--n'"),
        (["run", "--no-such-option"], "--no-such-option"),
        (["resume"], "RUN"),
        (["config", "shw"], "show"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_where_help_is(
    args: list[str], message: str, invoke: Callable[..., Any]
) -> None:
    outcome = invoke(*args)
    assert outcome.code == 2
    assert message in outcome.err
    assert "--help" in outcome.err
    document = invoke(*args, "--json").document
    assert document["status"] == "error"
    assert message in document["error"]["message"]
