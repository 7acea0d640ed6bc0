import pytest

from agentevo_environments.conformance.sandbox import SANDBOX_CHECKS
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox


@pytest.mark.parametrize("name", SANDBOX_CHECKS)
def test_embedded_sandbox_conforms(name: str) -> None:
    SANDBOX_CHECKS[name](EmbeddedSandbox)
