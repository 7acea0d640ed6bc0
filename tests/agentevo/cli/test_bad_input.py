"""What a newcomer gets wrong: each a clear message with the next step, and no traceback."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Invoke = Callable[..., Any]

TASK = {
    "task_id": "T/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}


def without(key: str) -> dict[str, str]:
    return {name: value for name, value in TASK.items() if name != key}


def lines(*tasks: object) -> str:
    return "".join(f"{task if isinstance(task, str) else json.dumps(task)}\n" for task in tasks)


@pytest.fixture
def refuse(invoke: Invoke, folder: Path) -> Callable[..., str]:
    """Return a function that runs a bad command, checks how it ends, and returns the message."""

    def run(*args: str, code: int = 2) -> str:
        for_people = invoke(*args)
        assert (for_people.code, for_people.out) == (code, "")
        assert for_people.err.startswith("error: ")
        assert "internal error" not in for_people.err
        document = invoke(*args, "--json").document
        message = document["error"]["message"]
        assert document["status"] == "error"
        assert " ".join(message.split()) in " ".join(for_people.err.split())
        assert not list((folder / ".agentevo").glob("runs/*/report.json"))
        return str(message)

    return run


Refuse = Callable[..., str]


def test_an_unknown_environment_is_answered_with_those_that_exist(refuse: Refuse) -> None:
    message = refuse("run", "--env", "cod")
    assert "'cod'" in message
    assert "code" in message
    assert "'cod'" in refuse("envs", "info", "cod")


def test_an_unknown_option_of_an_environment_is_answered_with_its_options(refuse: Refuse) -> None:
    message = refuse("run", "--set", "env.options.colour=red")
    assert "'colour'" in message
    assert "timeout_s" in message


@pytest.mark.parametrize("model", ["scripted:orakle", "no-such-provider:x", "gpt"])
def test_an_unknown_model_is_answered_with_the_forms_that_exist(model: str, refuse: Refuse) -> None:
    message = refuse("run", "--env", "echo_world:Echo", "--model", model)
    assert repr(model) in message
    assert "scripted:oracle" in message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("contexts=0", "contexts is 0; allowed: 1 or more"),
        ("n_ctx=many", "n_ctx is 'many'; allowed: a number"),
        ("temperature=-3", "temperature is -3.0; allowed: 0 to 100"),
        ("n_cxt=4", "unknown option 'n_cxt'"),
    ],
)
def test_an_option_of_a_local_model_is_checked_before_the_run(
    options: str, told: str, refuse: Refuse
) -> None:
    assert told in refuse("run", "--env", "echo_world:Echo", "--model", f"seed:?{options}")


def test_an_unknown_recipe_is_answered_with_those_that_exist(
    invoke: Invoke, refuse: Refuse
) -> None:
    assert "'memory_only'" in refuse("evolve", "--recipe", "memory_onli")
    assert "agentevo recipes list" in invoke("evolve", "--recipe", "memory_onli").err


def test_a_missing_api_key_names_the_variable(refuse: Refuse) -> None:
    pytest.importorskip("langchain_openai")
    message = refuse("run", "--env", "echo_world:Echo", "--model", "openai:gpt-5-mini", code=1)
    assert "OPENAI_API_KEY" in message


def test_an_unknown_split_is_answered_with_those_that_exist(refuse: Refuse) -> None:
    assert "test" in refuse("run", "--env", "echo_world:Echo", "--split", "train")


def test_an_unknown_sandbox_is_answered_with_those_that_exist(refuse: Refuse) -> None:
    message = refuse("run", "--sandbox", "dokcer")
    assert "'dokcer'" in message
    assert "docker" in message


def test_options_that_a_sandbox_does_not_take_are_named(refuse: Refuse) -> None:
    assert "'colour'" in refuse("run", "--set", "sandbox.options.colour=red")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (lines(TASK, "{not json"), ["tasks.jsonl", "line 2"]),
        (lines(TASK, "[]"), ["tasks.jsonl", "line 2"]),
        (lines(TASK, without("test")), ["tasks.jsonl", "line 2", "test"]),
        (lines(TASK, {**TASK, "task_id": "T/1", "test": ""}), ["tasks.jsonl", "line 2", "test"]),
        (lines(TASK, without("prompt")), ["tasks.jsonl", "line 2"]),
        ("", ["tasks.jsonl"]),
        ("\n\n", ["tasks.jsonl"]),
    ],
)
def test_a_damaged_task_file_is_named_with_its_line(
    content: str, parts: list[str], refuse: Refuse, folder: Path
) -> None:
    (folder / "tasks.jsonl").write_text(content)
    message = refuse("run", "--tasks", "tasks.jsonl")
    assert [part for part in parts if part not in message] == []


def test_a_missing_task_file_is_named(refuse: Refuse) -> None:
    assert "nowhere.jsonl" in refuse("run", "--tasks", "nowhere.jsonl")


def test_a_file_that_is_no_gzip_is_named(refuse: Refuse, folder: Path) -> None:
    (folder / "tasks.jsonl.gz").write_text("plain")
    assert "tasks.jsonl.gz" in refuse("run", "--tasks", "tasks.jsonl.gz")


def test_an_unknown_run_is_answered_with_the_nearest(invoke: Invoke, refuse: Refuse) -> None:
    for args in (("resume", "r1"), ("runs", "show", "r1"), ("run", "--from", "r1")):
        assert "'r1'" in refuse(*args)
    run_id = invoke("run", "--env", "echo_world:Echo", "--n", "1", "-q", "--json").document["data"][
        "id"
    ]
    assert run_id in invoke("resume", run_id[:-1]).err


def abandoned() -> set[Path]:
    """Return the scratch folders of sandboxes whose keeper has ended."""
    found = Path("/tmp").glob("agentevo-*-*")
    return {path for path in found if not Path("/proc", path.name.split("-")[1]).exists()}


def test_a_sandbox_that_the_machine_refuses_says_what_to_install() -> None:
    """No namespace can be made where none are left, even by root."""
    none_left = "echo 0 > /proc/sys/user/max_user_namespaces && exec "
    tried = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    if subprocess.run([*tried, none_left + "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespace can be made here")
    command = shlex.join([sys.executable, "-m", "agentevo", "run", "--n", "1", "--json"])
    before = abandoned()
    done = subprocess.run(
        [*tried, none_left + command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["type"]) == (1, "SandboxUnavailableError")
    assert "install bubblewrap or use the docker sandbox" in error["message"]
    assert [word for word in ("Traceback", "File ") if word in error["message"] + done.stderr] == []
    assert abandoned() <= before


def test_a_sandbox_that_cannot_start_says_so_before_anything_runs(invoke: Invoke) -> None:
    outcome = invoke("run", "--set", "sandbox.options.tier=T9", "--n", "1", "--json")
    assert outcome.code in (1, 2)
    assert "T9" in outcome.document["error"]["message"]
