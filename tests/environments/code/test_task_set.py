"""The task set that ships with the package."""

import doctest
from typing import Any

import pytest

from agentevo_environments.conformance import validate
from agentevo_environments.packs.code.environment import CodeEnvironment
from agentevo_environments.packs.code.grading import HiddenTests


@pytest.mark.parametrize(("split", "size"), [("train", 12), ("test", 12)])
def test_every_shipped_task_is_solved_by_its_solution_and_refuses_the_mutation(
    environment: CodeEnvironment, split: str, size: int
) -> None:
    found = validate(environment, split=split)
    assert found.ok, found.problems
    assert (found.tasks, found.oracles_solved, found.decoys_refused) == (size, size, size)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_examples_in_the_prompts_are_true(environment: CodeEnvironment, split: str) -> None:
    for task in environment.tasks(split):
        namespace: dict[str, Any] = {}
        exec(HiddenTests.of(task).reference, namespace)
        name = HiddenTests.of(task).entry_point
        text = getattr(namespace[name], "__doc__", "")
        examples = doctest.DocTestParser().get_doctest(text, namespace, name, None, None)
        assert doctest.DocTestRunner(verbose=False).run(examples) == (0, len(examples.examples))
        assert examples.examples, task.id


def test_no_hidden_assertion_stands_in_its_prompt(environment: CodeEnvironment) -> None:
    for task in (*environment.tasks("train"), *environment.tasks("test")):
        asserted = [
            line.strip() for line in HiddenTests.of(task).tests.splitlines() if "assert" in line
        ]
        assert len(asserted) >= 5, task.id
        assert not any(line in task.prompt for line in asserted)
