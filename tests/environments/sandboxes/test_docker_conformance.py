from functools import partial

import pytest

from agentevo_environments.conformance.sandbox import SANDBOX_CHECKS
from agentevo_environments.sandboxes.docker import DockerSandbox

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_daemon")]


@pytest.mark.slow
@pytest.mark.parametrize("name", SANDBOX_CHECKS)
def test_docker_sandbox_conforms(name: str) -> None:
    SANDBOX_CHECKS[name](DockerSandbox)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["starts_clean", "keeps_files_when_asked", "ends_floods"])
def test_single_use_containers_conform(name: str) -> None:
    SANDBOX_CHECKS[name](partial(DockerSandbox, per_exec="container", spare=1))
