import pytest

from agentevo_environments.errors import LimitsError
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
from agentevo_environments.sandboxes.workspace import normal_path


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e12, "1", None])
def test_a_time_limit_that_cannot_be_kept_is_refused(value: float) -> None:
    with pytest.raises(LimitsError, match="timeout_s must be a finite number above 0 and at most"):
        Limits(timeout_s=value)


@pytest.mark.parametrize("value", [0, -1, 2.5, 1 << 60, "1", None])
@pytest.mark.parametrize("name", ["memory_bytes", "processes", "output_bytes", "files"])
def test_a_count_that_cannot_be_kept_is_refused(name: str, value: int) -> None:
    with pytest.raises(LimitsError, match=f"{name} must be a whole number above 0 and at most"):
        Limits(**{name: value})


def test_the_largest_limits_work(sandbox: EmbeddedSandbox) -> None:
    most = 1 << 50
    limits = Limits(1e6, most, most, most, most, most, most, most)
    assert sandbox.exec(Program(code="print(1)"), limits=limits).stdout == "1\n"


def test_arguments_that_are_no_strings_are_refused() -> None:
    with pytest.raises(ValueError, match="not 5"):
        Program(argv=("echo", 5))  # type: ignore[arg-type]


def test_names_that_no_file_system_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 255 bytes"):
        normal_path("folder/" + "\u00e9" * 128)
    assert normal_path("a\nb/c\td") == "a\nb/c\td"


def test_source_for_which_there_is_no_memory_says_so(sandbox: EmbeddedSandbox) -> None:
    result = sandbox.exec(Program(code="x=1\n" * (1 << 20)), limits=Limits(memory_bytes=64 << 20))
    assert result.ending == "memory_limit"
    assert not result.stdout


def test_a_child_of_the_program_cannot_say_how_it_ended(sandbox: EmbeddedSandbox) -> None:
    code = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n"
        "    for _ in range(50): os.kill(1, signal.SIGUSR1); os.kill(1, signal.SIGUSR2)\n"
        "    os._exit(0)\n"
        "os.wait(); time.sleep(0.1); print('verdict'); sys.exit(7)"
    )
    result = sandbox.exec(Program(code=code))
    assert (result.exit_code, result.stdout) == (7, "verdict\n")


def test_a_fork_that_runs_to_the_end_does_not_end_the_program(sandbox: EmbeddedSandbox) -> None:
    code = "import os, time\nif os.fork():\n    os.wait(); time.sleep(0.2); print('parent')"
    assert sandbox.exec(Program(code=code)).stdout == "parent\n"


def test_a_program_that_disarms_the_module_os_ends_as_usual(sandbox: EmbeddedSandbox) -> None:
    code = "import os, time\nos.kill = os.getpid = os.getppid = os._exit = time.sleep = None"
    assert sandbox.exec(Program(code=code)).ok
    result = sandbox.exec(Program(code=f"{code}\nraise SystemExit(5)"))
    assert (result.ending, result.exit_code) == ("exited", 5)


def test_signals_of_a_program_to_its_supervisor_end_no_more_than_itself(
    sandbox: EmbeddedSandbox,
) -> None:
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGKILL", "SIGSTOP"):
        code = f"import os, signal\nfor _ in range(99): os.kill(1, signal.{name})\nprint('on')"
        for keep_files in (False, True):
            result = sandbox.exec(Program(code=code), keep_files=keep_files)
            assert result.ending in {"exited", "killed"}
    assert sandbox.exec(Program(code="print('fine')")).stdout == "fine\n"
