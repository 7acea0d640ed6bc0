import json

import pytest
from typer.testing import CliRunner

from agentevo.cli import app


@pytest.mark.docker
def test_gc_says_what_it_removed(docker_daemon: None) -> None:
    result = CliRunner().invoke(app, ["sandbox", "gc", "--json"])
    document = json.loads(result.stdout)
    assert (result.exit_code, document["status"]) == (0, "ok")
    assert isinstance(document["data"]["removed"], list)


def test_attack_counts_what_is_stopped() -> None:
    command = ["sandbox", "attack", "--backend", "embedded", "--only", "host_write", "--json"]
    result = CliRunner().invoke(app, command)
    data = json.loads(result.stdout)["data"]
    assert (result.exit_code, data["stopped"], data["total"]) == (0, 1, 1)
    assert data["attacks"][0]["id"] == "host_write"


def test_an_attack_that_gets_through_fails_the_command() -> None:
    command = ["sandbox", "attack", "--tier", "T4", "--only", "host_loopback"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "0 of 1 attacks stopped" in result.stdout


def test_an_unknown_attack_is_refused_with_the_list() -> None:
    result = CliRunner().invoke(app, ["sandbox", "attack", "--only", "nonsense"])
    assert result.exit_code != 0
    assert "fork_bomb" in result.output
