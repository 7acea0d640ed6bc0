"""Checks that any sandbox must pass, by name; a third party runs them in three lines.

    @pytest.mark.parametrize("name", SANDBOX_CHECKS)
    def test_sandbox_conforms(name):
        SANDBOX_CHECKS[name](MySandbox)

or all at once: `check_sandbox(MySandbox)`. They say what a sandbox must do for honest programs
and within its limits; the attacks that it must withstand are in `attacks`.
"""

import os
import uuid
from collections.abc import Callable, Mapping
from functools import partial

from agentevo_environments.conformance import programs, workspaces
from agentevo_environments.conformance.checks import ConformanceError, require, run_checks
from agentevo_environments.errors import SandboxDiedError, SandboxError
from agentevo_environments.sandboxes.base import Program, Sandbox, provision

SandboxFactory = Callable[[], Sandbox]
Check = Callable[[SandboxFactory], None]


def check_sandbox(factory: SandboxFactory) -> None:
    """Run every check on the sandboxes that `factory` makes, not started.

    Raises:
        ConformanceError: Checks failed; the message names each and says why.
    """
    run_checks(SANDBOX_CHECKS, factory)


def says_what_it_contains(factory: SandboxFactory) -> None:
    """A started sandbox names its backend, its tier, and what it holds back."""
    with provision(factory()) as sandbox:
        told = sandbox.containment
        require(bool(told.backend and told.tier), f"it names no backend or tier: {told!r}")
        require(
            bool(told.contains or told.not_contained), "it says neither what it contains nor not"
        )


def closes_twice(factory: SandboxFactory) -> None:
    """Closing again, and closing what never started, does nothing."""
    sandbox = factory()
    sandbox.close()
    with provision(factory()) as sandbox:
        sandbox.exec(Program(code="pass"))
        sandbox.close()
        sandbox.close()


def refuses_to_run_when_closed(factory: SandboxFactory) -> None:
    """A closed sandbox raises SandboxDiedError instead of hanging or running elsewhere."""
    with provision(factory()) as sandbox:
        sandbox.close()
        try:
            sandbox.exec(Program(code="pass"))
        except SandboxDiedError:
            return
        raise ConformanceError("exec after close did not raise SandboxDiedError")


def refuses_to_run_before_start(factory: SandboxFactory) -> None:
    """A sandbox that was not started raises a SandboxError."""
    sandbox = factory()
    try:
        sandbox.exec(Program(code="pass"))
    except SandboxError:
        return
    finally:
        sandbox.close()
    raise ConformanceError("exec before start did not raise a SandboxError")


def hides_the_host_environment(factory: SandboxFactory) -> None:
    """No variable of the host's environment is visible, in the program or in /proc."""
    secret = uuid.uuid4().hex
    os.environ["AGENTEVO_CONFORMANCE"] = secret
    try:
        with provision(factory()) as sandbox:
            result = sandbox.exec(Program(code=programs.READ_ENVIRONMENTS))
    finally:
        del os.environ["AGENTEVO_CONFORMANCE"]
    require(result.ok and secret not in result.stdout, f"the host's environment leaks: {result!r}")


def keeps_two_sandboxes_apart(factory: SandboxFactory) -> None:
    """Files and results of one sandbox do not appear in another."""
    with provision(factory()) as one, provision(factory()) as two:
        one.put("mine.txt", b"1")
        one.exec(Program(code="print(1)"), execution_id="same")
        require(list(two.workspace()) == [], "a new sandbox has files of another")
        result = two.exec(Program(code="print(2)"), execution_id="same")
        require(result.stdout == "2\n", f"a result of another sandbox was returned: {result!r}")


def _in_sandbox(check: Callable[[Sandbox], None], factory: SandboxFactory) -> None:
    with provision(factory()) as sandbox:
        check(sandbox)


SANDBOX_CHECKS: Mapping[str, Check] = {
    check.__name__: check
    for check in (
        says_what_it_contains,
        closes_twice,
        refuses_to_run_when_closed,
        refuses_to_run_before_start,
        hides_the_host_environment,
        keeps_two_sandboxes_apart,
    )
} | {
    check.__name__: partial(_in_sandbox, check) for check in (*programs.CHECKS, *workspaces.CHECKS)
}
"""Every check by name; each is called with a factory of sandboxes that are not started."""
