"""The environment: conformance in the embedded sandbox, and what is particular to it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from agentevo_environments import Action
from agentevo_environments.conformance.environment import ENVIRONMENT_CHECKS
from agentevo_environments.conformance.validation import play
from agentevo_environments.packs.quirks.environment import QuirksEnvironment
from agentevo_environments.packs.quirks.jobs import commands
from agentevo_environments.packs.quirks.tasks import job_of
from agentevo_environments.registry import make_environment
from agentevo_environments.sandboxes import make_sandbox


@pytest.fixture
def environment() -> Iterator[QuirksEnvironment]:
    made = QuirksEnvironment(sandbox=make_sandbox(), tier="drift", tasks_per_world=4)
    yield made
    made.close()


@pytest.fixture
def one_attempt() -> Iterator[QuirksEnvironment]:
    made = QuirksEnvironment(sandbox=make_sandbox(), attempts=1)
    yield made
    made.close()


@pytest.mark.parametrize("attempts", [0, 1])
@pytest.mark.parametrize("name", ENVIRONMENT_CHECKS)
def test_quirks_conforms(name: str, attempts: int) -> None:
    ENVIRONMENT_CHECKS[name](lambda: QuirksEnvironment(sandbox=make_sandbox(), attempts=attempts))


def test_with_one_attempt_the_first_error_is_seen_and_ends_the_episode(
    one_attempt: QuirksEnvironment,
) -> None:
    task = one_attempt.tasks(n=1)[0]
    oracle = list(one_attempt.oracle(task) or ())
    one_attempt.reset(task)
    documented = commands(job_of(task), {})[-1]
    seen = one_attempt.step(Action("run", {"command": documented}))
    assert (seen.error, seen.done) == (True, True)
    assert task.scope in seen.text
    assert [one_attempt.step(action).text for action in oracle] == [
        "error:\n- no attempts are left"
    ] * len(oracle)
    assert not one_attempt.grade().solved


def test_with_one_attempt_the_oracle_solves_and_nobody_else_does(
    one_attempt: QuirksEnvironment,
) -> None:
    for task in one_attempt.tasks(n=12):
        oracle, decoy = one_attempt.oracle(task), one_attempt.decoy(task)
        assert play(one_attempt, task, list(oracle or ())).solved
        assert not play(one_attempt, task, list(decoy or ())).solved
        documented = [Action("run", {"command": line}) for line in commands(job_of(task), {})]
        assert not play(one_attempt, task, documented).solved


def test_attempts_survive_a_restart_of_the_episode(one_attempt: QuirksEnvironment) -> None:
    task = one_attempt.tasks(n=1)[0]
    one_attempt.reset(task)
    one_attempt.step(Action("run", {"command": "do nothing"}, id="a"))
    kept = one_attempt.snapshot()
    one_attempt.reset(task)
    one_attempt.restore(task, kept)
    oracle = list(one_attempt.oracle(task) or ())
    assert one_attempt.step(oracle[0]).done
    assert not one_attempt.grade().solved


@pytest.mark.parametrize("attempts", [2, 3])
def test_an_episode_lasts_for_as_many_errors_as_it_has_attempts(attempts: int) -> None:
    environment = make_environment("quirks", attempts=str(attempts))
    try:
        environment.reset(environment.tasks(n=1)[0])
        wrong = Action("run", {"command": "do nothing"})
        seen = [environment.step(wrong).done for _ in range(attempts)]
        assert seen == [False] * (attempts - 1) + [True]
    finally:
        environment.close()


@pytest.mark.parametrize("tier", ["hard", "drift"])
def test_the_oracle_solves_the_harder_tiers(tier: str) -> None:
    environment = make_environment("quirks", tier=tier, tasks_per_world="4")
    try:
        for task in environment.tasks(n=6):
            actions = environment.oracle(task)
            assert actions is not None
            assert play(environment, task, list(actions)).solved
    finally:
        environment.close()


def test_reaching_the_goal_ends_the_episode(environment: QuirksEnvironment) -> None:
    task = environment.tasks(n=1)[0]
    environment.reset(task)
    actions = environment.oracle(task)
    assert actions is not None
    seen = [environment.step(action) for action in actions]
    assert [observation.done for observation in seen] == [False] * (len(seen) - 1) + [True]


def test_the_goal_with_something_else_changed_is_no_solution(
    environment: QuirksEnvironment,
) -> None:
    task = environment.tasks(n=1)[0]
    decoy, oracle = environment.decoy(task), environment.oracle(task)
    assert decoy is not None
    assert oracle is not None
    grade = play(environment, task, [*decoy, *oracle])
    assert (grade.solved, grade.score) == (False, 0.5)


def test_a_command_of_endless_length_is_an_error(environment: QuirksEnvironment) -> None:
    environment.reset(environment.tasks(n=1)[0])
    assert environment.step(Action("run", {"command": "do " * 5000})).error


def test_every_option_reaches_the_difficulty() -> None:
    options: dict[str, Any] = {
        "quirks_per_world": 20,
        "fewest_per_task": 2,
        "most_per_task": 4,
        "tasks_per_world": 5,
        "step_limit": 9,
        "feedback": "expected",
        "errors": "first",
        "tier": "drift",
        "combinations": "any",
        "attempts": 2,
    }
    environment = QuirksEnvironment(sandbox=make_sandbox(), **options)
    assert asdict(environment.difficulty) == options
