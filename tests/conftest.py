import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agentevo_environments.errors import SandboxUnavailableError
from agentevo_environments.sandboxes.docker.daemon import connect

DAEMON_START_S = 60


@pytest.fixture(scope="session")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker daemon: the one that runs, or one started for these tests."""
    if _answers():
        yield
        return
    program = shutil.which("dockerd")
    if program is None or os.geteuid() != 0:
        _missing("no Docker daemon answers, and none can be started: install docker.io, be root")
    log = tmp_path_factory.mktemp("dockerd") / "dockerd.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen([str(program)], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + DAEMON_START_S
        while not _answers() and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        if not _answers():
            _missing(f"dockerd does not start: {_tail(log)}")
        yield
    finally:
        daemon.terminate()
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(30)


def _answers() -> bool:
    try:
        connect().close()
    except SandboxUnavailableError:
        return False
    return True


def _missing(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
