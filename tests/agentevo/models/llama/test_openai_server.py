"""The second backend: any OpenAI-compatible server, here llama-cpp-python's and our own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from agentevo.models import init_model
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS

RULES = f"{INSTRUCTIONS}\nRules, later ones win:\n- In Moki move is zabo"
TASK = [SystemMessage(RULES), HumanMessage("In Moki: move the red box to the shelf.")]
pytestmark = [pytest.mark.slow, pytest.mark.model]


@tool
def run(command: str) -> str:
    """Run a command on the machine."""
    return f"ran {command}"


class Parcel(BaseModel):
    """A thing to send."""

    name: str = Field(max_length=20)
    weight: int = Field(ge=1, le=40)


@pytest.fixture(scope="module", params=["llama_cpp.server", "agentevo serve"])
def base_url(request: pytest.FixtureRequest, model_path: Path) -> Iterator[str]:
    for package in ("uvicorn", "starlette_context", "sse_starlette", "langchain_openai"):
        pytest.importorskip(package)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    commands = {
        "llama_cpp.server": [
            *("-m", "llama_cpp.server", "--model", str(model_path), "--model_alias", "seed"),
            *("--host", "127.0.0.1", "--port", port, "--n_ctx", "768", "--n_threads", "1"),
        ],
        "agentevo serve": [
            *("-m", "agentevo", "serve", f"llamacpp:{model_path}?n_ctx=768"),
            *("--name", "seed", "--port", port),
        ],
    }
    with _serving([sys.executable, *commands[request.param]]) as server:
        _wait(f"http://127.0.0.1:{port}/v1/models", server)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def _serving(command: list[str], **options: Any) -> "Iterator[subprocess.Popen[str]]":
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, text=True, **{**quiet, **options})
    try:
        yield server
    finally:
        server.terminate()
        server.communicate(timeout=20)


def _wait(url: str, server: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(url)


def test_a_server_answers_like_the_engine(base_url: str, model_path: Path) -> None:
    options: dict[str, Any] = {"temperature": 0}
    remote = init_model("openai:seed", base_url=base_url, api_key="none", **options)
    local = init_model(f"llamacpp:{model_path}", **options)
    assert isinstance(remote, BaseChatModel)
    assert isinstance(local, BaseChatModel)
    question = "In Moki: move the red box to the shelf."
    answer = remote.invoke(question)
    assert answer.text == local.invoke(question).text != ""
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.text for chunk in remote.stream(question)) == answer.text


@pytest.fixture
def own_server(model_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    pytest.importorskip("uvicorn")
    pytest.importorskip("langchain_openai")
    command = [sys.executable, "-m", "agentevo", "serve", f"llamacpp:{model_path}?n_ctx=768"]
    command += ["--name", "seed", "--port", "0", "--json"]
    environment = {**os.environ, "AGENTEVO_API_KEY": "secret"}
    with _serving(command, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout
        said = json.loads(server.stdout.readline())
        assert said["data"]["models"] == ["seed"]
        yield said["data"]["url"], server


def test_own_server_calls_tools_binds_answers_and_needs_its_key(
    own_server: tuple[str, "subprocess.Popen[str]"], model_path: Path
) -> None:
    import openai

    url, server = own_server
    options: dict[str, Any] = {"temperature": 0, "stream_usage": True}
    remote = init_model("openai:seed", base_url=url, api_key="secret", **options)
    local = init_model(f"llamacpp:{model_path}", temperature=0)
    assert isinstance(remote, BaseChatModel)
    assert isinstance(local, BaseChatModel)
    answers = [model.bind_tools([run]).invoke(TASK) for model in (remote, local)]
    assert answers[0].tool_calls[0]["args"] == answers[1].tool_calls[0]["args"]
    assert answers[0].text == answers[1].text
    chunks = list(remote.bind_tools([run]).stream(TASK))
    streamed: Any = sum(chunks[1:], start=chunks[0])
    assert streamed.tool_calls[0]["args"] == answers[1].tool_calls[0]["args"]
    assert streamed.usage_metadata["output_tokens"] > 0
    for method in ("json_schema", "function_calling"):
        parcel = remote.with_structured_output(Parcel, method=method).invoke("Send it.")
        assert isinstance(parcel, Parcel)
    stranger = init_model("openai:seed", base_url=url, api_key="wrong", max_retries=0)
    assert isinstance(stranger, BaseChatModel)
    with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer KEY"):
        stranger.invoke("hi")
    server.terminate()
    assert server.wait(20) in (0, -signal.SIGTERM)
