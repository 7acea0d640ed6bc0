"""Environments by name: what is installed, what an outside project adds, and clear refusals."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agentevo_environments import Environment
from agentevo_environments.errors import OptionError, RegistrationError, UnknownNameError
from agentevo_environments.registry import (
    environment_class,
    environment_names,
    environment_options,
    make_environment,
)

ARITHMETIC = (Path(__file__).parent / "arithmetic_environment.py").read_text(encoding="utf-8")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay out an installed distribution as pip does: its modules and its dist-info."""
    monkeypatch.syspath_prepend(tmp_path)

    def lay_out(module: str, source: str, *, dist: str = "outside", name: str = "outside") -> None:
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{dist}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        target = f"{module}:ArithmeticEnvironment"
        (info / "entry_points.txt").write_text(f"[agentevo.environments]\n{name} = {target}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return lay_out


def test_the_code_environment_is_installed() -> None:
    assert "code" in environment_names()
    assert environment_class("code").name == "code"


def test_listing_the_names_imports_no_environment() -> None:
    check = (
        "import sys; from agentevo_environments.registry import environment_names;"
        "environment_names();"
        "print([m for m in sys.modules if 'packs' in m or m in ('torch', 'pydantic', 'docker')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_an_outside_project_adds_its_environment_by_an_entry_point(install: Install) -> None:
    install("outside_sums", ARITHMETIC, name="sums")
    assert "sums" in environment_names()
    environment = make_environment("sums")
    assert environment.tasks(n=1)[0].prompt.endswith("?")


def test_a_dotted_path_needs_no_entry_point() -> None:
    environment = make_environment("agentevo_environments.packs.code.environment:CodeEnvironment")
    assert len(environment.tasks("train", 3)) == 3
    environment.close()


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown environment 'cide'; there are: .*code"):
        make_environment("cide")


def test_options_come_from_the_constructor() -> None:
    assert list(environment_options("code")) == ["tasks", "timeout_s"]


def test_an_unknown_option_lists_the_options() -> None:
    with pytest.raises(UnknownNameError, match="no option 'taks'; its options: tasks, timeout_s"):
        make_environment("code", taks="x")


def test_a_text_becomes_the_type_that_the_constructor_asks_for() -> None:
    assert make_environment("code", timeout_s="2.5")
    with pytest.raises(OptionError, match="'timeout_s' of the environment 'code' is 'soon'"):
        make_environment("code", timeout_s="soon")


def test_a_refused_value_is_a_clear_error() -> None:
    with pytest.raises(
        OptionError, match="timeout_s must be a finite number above 0 and at most 1000000, not -1"
    ):
        make_environment("code", timeout_s=-1.0)


def test_a_missing_option_is_named(install: Install) -> None:
    needy = (
        ARITHMETIC + "\n    def __init__(self, *, size: int) -> None:\n        self.size = size\n"
    )
    install("outside_needy", needy)
    with pytest.raises(OptionError, match="needs the option 'size'"):
        make_environment("outside")
    assert vars(make_environment("outside", size="3"))["size"] == 3


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        (
            "outside_missing",
            "import no_such_package_here",
            "cannot be imported: ModuleNotFoundError",
        ),
        ("outside_broken", "1 / 0", "cannot be imported: ZeroDivisionError"),
        ("outside_empty", "", "cannot be imported: AttributeError"),
        ("outside_other", "class ArithmeticEnvironment: pass", "not a subclass of"),
        (
            "outside_abstract",
            "from agentevo_environments import Environment\n"
            "class ArithmeticEnvironment(Environment): pass",
            "does not define: grade, reset, step, tasks, tools",
        ),
    ],
)
def test_a_registration_that_does_not_load_is_named(
    install: Install, module: str, source: str, complaint: str
) -> None:
    install(module, source)
    with pytest.raises(RegistrationError, match=complaint):
        environment_class("outside")


def test_a_broken_environment_does_not_hide_the_others(install: Install) -> None:
    install("outside_broken_too", "1 / 0")
    assert {"code", "outside"} <= set(environment_names())
    assert issubclass(environment_class("code"), Environment)


def test_a_name_taken_twice_names_both_owners(install: Install) -> None:
    install("outside_first", ARITHMETIC, dist="first", name="same")
    install("outside_second", ARITHMETIC, dist="second", name="same")
    with pytest.raises(RegistrationError, match=r"'same' is taken twice: .* of .* and .* of "):
        environment_names()
