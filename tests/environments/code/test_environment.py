"""The code environment as an agent meets it."""

import json
from pathlib import Path

import pytest

from agentevo_environments import Action, Task
from agentevo_environments.conformance import ENVIRONMENT_CHECKS
from agentevo_environments.errors import ActionError, TaskFileError, UnknownNameError
from agentevo_environments.packs.code.environment import CodeEnvironment
from agentevo_environments.sandboxes import make_sandbox
from agentevo_environments.task import JSONValue


def run(code: str, action_id: str = "") -> Action:
    return Action("run_python", {"code": code}, id=action_id)


def submit(code: str) -> Action:
    return Action("submit", {"code": code})


@pytest.fixture
def task(environment: CodeEnvironment) -> Task:
    first = environment.tasks()[0]
    environment.reset(first)
    return first


@pytest.mark.parametrize("name", ENVIRONMENT_CHECKS)
def test_the_code_environment_conforms(name: str) -> None:
    ENVIRONMENT_CHECKS[name](lambda: CodeEnvironment(sandbox=make_sandbox()))


def test_a_program_shows_what_it_prints(environment: CodeEnvironment, task: Task) -> None:
    seen = environment.step(run("import sys; print('out'); print('err', file=sys.stderr)"))
    assert (seen.text, seen.done, seen.error) == ("out\nerr", False, False)


def test_a_silent_program_says_so(environment: CodeEnvironment, task: Task) -> None:
    assert environment.step(run("x = 1")).text == "[no output]"


def test_a_failing_program_is_an_error_with_its_traceback(
    environment: CodeEnvironment, task: Task
) -> None:
    seen = environment.step(run("1 / 0"))
    assert seen.error
    assert "ZeroDivisionError" in seen.text
    assert seen.text.endswith("[exit code 1]")


def test_a_program_that_hangs_is_stopped(task: Task) -> None:
    environment = CodeEnvironment(sandbox=make_sandbox(), timeout_s=0.5)
    environment.reset(task)
    seen = environment.step(run("print('before', flush=True)\nwhile True: pass"))
    environment.close()
    assert seen.error
    assert seen.text == "before\n[timeout]"


def test_long_output_loses_its_middle(environment: CodeEnvironment, task: Task) -> None:
    seen = environment.step(run("print('a' * 9000 + 'z')"))
    assert len(seen.text) < 4100
    assert seen.text.startswith("aaa")
    assert seen.text.endswith("az")
    assert "5001 characters left out" in seen.text


def test_nothing_stays_from_one_program_to_the_next(
    environment: CodeEnvironment, task: Task
) -> None:
    environment.step(run("open('left.txt', 'w').write('x')"))
    assert environment.step(run("import os; print(os.path.exists('left.txt'))")).text == "False"


def test_the_same_action_id_runs_once_even_after_a_restore(
    environment: CodeEnvironment, task: Task
) -> None:
    draw = run("import os; print(os.urandom(8).hex())", action_id="a1")
    first = environment.step(draw)
    assert environment.step(draw) == first
    environment.restore(task, json.loads(json.dumps(environment.snapshot())))
    assert environment.step(draw) == first
    assert environment.step(run("import os; print(os.urandom(8).hex())", "a2")) != first


def test_an_execution_whose_observation_was_lost_is_not_run_again(
    environment: CodeEnvironment, task: Task
) -> None:
    before = environment.snapshot()
    draw = run("import os; print(os.urandom(8).hex())", action_id="a1")
    first = environment.step(draw)
    environment.restore(task, before)
    assert environment.step(draw) == first


def test_a_submission_ends_the_episode_without_a_verdict(
    environment: CodeEnvironment, task: Task
) -> None:
    seen = environment.step(submit("def f(): pass"))
    assert (seen.text, seen.done) == ("Submitted.", True)
    after = environment.step(run("print(1)"))
    assert (after.error, after.done) == (True, True)


def test_only_the_first_submission_counts(environment: CodeEnvironment, task: Task) -> None:
    environment.step(submit("def f(): pass"))
    for action in environment.oracle(task) or []:
        environment.step(action)
    assert not environment.grade().solved


def test_the_step_limit_ends_the_episode(environment: CodeEnvironment, task: Task) -> None:
    seen = [environment.step(run("print(1)")) for _ in range(environment.step_limit)]
    assert [s.done for s in seen] == [False] * (environment.step_limit - 1) + [True]
    assert environment.step(submit("def f(): pass")).error
    assert environment.grade().detail == "nothing was submitted"


@pytest.mark.parametrize(
    ("action", "complaint"),
    [
        (Action("compile", {"code": "1"}), "there is no tool 'compile'; use run_python or submit"),
        (Action("submit", {}), "submit takes one argument, code"),
        (Action("submit", {"code": "  "}), "submit takes one argument, code"),
        (Action("run_python", {"code": ["1"]}), "run_python takes one argument, code"),
        (Action("run_python", {"code": "1", "timeout": 9}), "run_python takes one argument, code"),
        (Action("run_python", {"code": "'\ud800'"}), "the code is not valid Unicode text"),
    ],
)
def test_a_bad_action_is_an_observation_and_submits_nothing(
    environment: CodeEnvironment, task: Task, action: Action, complaint: str
) -> None:
    seen = environment.step(action)
    assert (seen.error, seen.done) == (True, False)
    assert complaint in seen.text
    assert environment.grade().detail == "nothing was submitted"


def test_acting_before_a_reset_is_a_clear_error(environment: CodeEnvironment) -> None:
    with pytest.raises(ActionError, match="call reset"):
        environment.step(run("print(1)"))


def test_a_snapshot_of_something_else_is_refused(environment: CodeEnvironment, task: Task) -> None:
    wrong: list[JSONValue] = [
        None,
        [],
        {"submitted": 3},
        {"submitted": None, "steps": 1, "done": {"a": 1}},
    ]
    for snapshot in wrong:
        with pytest.raises(ActionError, match="not a "):
            environment.restore(task, snapshot)


def test_a_seed_shuffles_the_tasks_and_keeps_them_all(environment: CodeEnvironment) -> None:
    plain, shuffled = environment.tasks(), environment.tasks(seed=5)
    assert plain != shuffled
    assert {t.id for t in plain} == {t.id for t in shuffled}


def test_an_unknown_split_lists_the_splits(environment: CodeEnvironment) -> None:
    with pytest.raises(UnknownNameError, match="no split 'dev'; it has: test, train"):
        environment.tasks("dev")


def test_tasks_can_be_listed_without_a_started_sandbox(tmp_path: Path) -> None:
    environment = CodeEnvironment(sandbox=make_sandbox(), tasks=tmp_path / "none.jsonl")
    with pytest.raises(TaskFileError, match="there is no file"):
        environment.tasks()
    environment.close()
