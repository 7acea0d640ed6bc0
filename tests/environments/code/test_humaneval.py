"""HumanEval, all of it: every canonical solution passes, every mutated one fails."""

from pathlib import Path

import pytest

from agentevo_environments.conformance import validate
from agentevo_environments.packs.code.environment import CodeEnvironment
from agentevo_environments.sandboxes import make_sandbox

TASKS = 164


@pytest.mark.slow
def test_all_canonical_solutions_pass_and_all_mutated_ones_fail(humaneval: Path) -> None:
    environment = CodeEnvironment(sandbox=make_sandbox(), tasks=humaneval)
    found = validate(environment)
    environment.close()
    assert found.problems == ()
    assert (found.tasks, found.oracles_solved, found.decoys_refused) == (TASKS, TASKS, TASKS)
