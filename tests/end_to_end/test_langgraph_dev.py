"""`langgraph dev` serves `langgraph.json`: a real server plays real episodes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
START_S = 60.0
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, body: object) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def wait_until_up(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/ok", timeout=2).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the server did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    shutil.copy(ROOT / "langgraph.json", folder)
    log = folder / "log.txt"
    command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--no-reload", "--port", str(port)],
            cwd=folder,
            env={**os.environ, "LANGSMITH_TRACING": "false", "AGENTEVO_HOME": str(folder / "home")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(process, url, log)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def play(server: str, **given: Any) -> Any:
    return post(f"{server}/runs/wait", {"assistant_id": "episode", "input": given})


def test_the_oracle_solves_an_episode_of_quirks(server: str) -> None:
    settings = {"env": {"name": "quirks", "split": "demo"}, "model": {"spec": "scripted:oracle"}}
    reply = play(server, settings=settings, task_id="demo/basic/3000000/1")
    assert reply["grade"] == {"score": 1.0, "solved": True, "detail": "the goal is reached"}
    assert [message["type"] for message in reply["messages"]][:3] == ["system", "human", "ai"]


def test_an_episode_of_the_seed_model_and_one_of_code_are_played(server: str) -> None:
    env = {"name": "quirks", "options": {"attempts": 1}}
    reply = play(server, settings={"env": env, "model": {"spec": "seed", "max_tokens": 64}})
    assert reply["grade"]["solved"] is False
    assert play(server, settings={"env": {"name": "code"}})["grade"]["solved"] is True


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"settings": {"sandbox": {"allow_unsafe": True}}}, "cannot set 'sandbox'"),
        ({"settings": {"env": {"name": "quirks"}}, "task_id": "none"}, "no task 'none'"),
        ({"settings": {"env": {"name": "nowhere"}}}, "unknown environment 'nowhere'"),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_wrong(
    given: dict[str, Any], said: str, server: str
) -> None:
    assert said in play(server, **given)["__error__"]["message"]
