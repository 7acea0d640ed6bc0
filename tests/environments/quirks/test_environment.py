"""The environment: conformance in the embedded sandbox, and what is particular to it."""

from collections.abc import Iterator

import pytest

from agentevo_environments import Action
from agentevo_environments.conformance.environment import ENVIRONMENT_CHECKS
from agentevo_environments.conformance.validation import play
from agentevo_environments.packs.quirks.environment import QuirksEnvironment
from agentevo_environments.registry import make_environment
from agentevo_environments.sandboxes import make_sandbox


@pytest.fixture
def environment() -> Iterator[QuirksEnvironment]:
    made = QuirksEnvironment(sandbox=make_sandbox(), tier="drift", tasks_per_world=4)
    yield made
    made.close()


@pytest.mark.parametrize("name", ENVIRONMENT_CHECKS)
def test_quirks_conforms(name: str) -> None:
    ENVIRONMENT_CHECKS[name](lambda: QuirksEnvironment(sandbox=make_sandbox()))


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
