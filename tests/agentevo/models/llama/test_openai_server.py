"""The second backend: any OpenAI-compatible server, here llama-cpp-python's own on the seed model."""

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
from langchain_core.language_models import BaseChatModel

from agentevo.models import init_model

pytestmark = [pytest.mark.slow, pytest.mark.model]


@pytest.fixture(scope="module")
def base_url(model_path: Path) -> Iterator[str]:
    for package in ("uvicorn", "starlette_context", "sse_starlette", "langchain_openai"):
        pytest.importorskip(package)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [
        *(sys.executable, "-m", "llama_cpp.server", "--model", str(model_path)),
        *("--host", "127.0.0.1", "--port", str(port), "--n_ctx", "768", "--n_threads", "1"),
        *("--model_alias", "seed"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/v1/models", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
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
