"""The OpenAI-compatible endpoint: the wire format, the names, the key, and bad requests."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.models.llama.endpoint import LONGEST_BODY_BYTES, Endpoint, build_app
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.gbnf import literal
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.sizing import EngineSettings
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS

RULES = f"{INSTRUCTIONS}\nRules, later ones win:\n- In Moki move is zabo"
TASK = [
    {"role": "system", "content": RULES},
    {"role": "user", "content": "In Moki: move the red box to the shelf."},
]
RUN = {
    "type": "function",
    "function": {
        "name": "run",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
    },
}
CHAT = "/v1/chat/completions"
Client = httpx.AsyncClient


@pytest.fixture
async def chat(weights: LlamaModel) -> AsyncIterator[ChatLlamaEngine]:
    with LlamaEngine(weights, EngineSettings(cache_bytes=0)) as engine:
        yield ChatLlamaEngine(engine=engine, max_tokens=200)


@pytest.fixture
async def client(chat: ChatLlamaEngine) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(build_app(Endpoint(chat, "moki")))
    async with Client(transport=transport, base_url="http://here") as client:
        yield client


async def post(client: Client, **body: Any) -> httpx.Response:
    return await client.post(CHAT, json={"model": "moki", "messages": TASK, **body})


async def events(client: Client, **body: Any) -> list[dict[str, Any]]:
    answer = await post(client, stream=True, **body)
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_answer_has_text_usage_and_reason(client: Client, chat: ChatLlamaEngine) -> None:
    answer = (await post(client)).json()
    expected = await chat.ainvoke(TASK)
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected.text}
    assert choice["finish_reason"] == "stop"
    counts = expected.usage_metadata
    assert counts
    assert answer["usage"]["prompt_tokens"] == counts["input_tokens"]
    assert answer["usage"]["completion_tokens"] == counts["output_tokens"]
    cut = (await post(client, max_completion_tokens=3)).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3


async def test_stream_says_the_same_and_ends_with_the_usage(client: Client) -> None:
    whole = (await post(client, tools=[RUN])).json()
    chunks = await events(client, tools=[RUN], stream_options={"include_usage": True})
    deltas = [c["choices"][0] for c in chunks[:-1]]
    (said,) = [c["message"] for c in whole["choices"]]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(d["delta"].get("content", "") for d in deltas) == said["content"]
    (call,) = [call for d in deltas for call in d["delta"].get("tool_calls", ())]
    assert call["function"] == said["tool_calls"][0]["function"]
    assert json.loads(call["function"]["arguments"])["command"].startswith("do zabo ")
    assert [d["finish_reason"] for d in deltas if d["finish_reason"]] == ["tool_calls"]
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
    assert len({c["id"] for c in chunks}) == 1


async def test_a_call_and_its_result_go_back_into_the_conversation(client: Client) -> None:
    said = (await post(client, tools=[RUN])).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "ok"}
    answer = await post(client, messages=[*TASK, said, result], tools=[RUN])
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["role"] == "assistant"


async def test_a_malformed_call_is_text_whole_and_streamed(client: Client) -> None:
    text = 'x<tool_call>{"name": </tool_call>'
    bound = {"tools": [RUN], "grammar": f"root ::= {literal(text)}"}
    message = (await post(client, **bound)).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": text}
    chunks = await events(client, **bound)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == text


async def test_answers_can_be_bound_to_tools_and_schemas(client: Client) -> None:
    forced = (await post(client, tools=[RUN], tool_choice="required", temperature=2, seed=1)).json()
    (call,) = forced["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "run"
    schema = {
        "type": "object",
        "properties": {"weight": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["weight"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "parcel", "schema": schema}}
    answer = (await post(client, response_format=form, temperature=2, seed=1)).json()
    assert 1 <= json.loads(answer["choices"][0]["message"]["content"])["weight"] <= 9


async def test_several_answers_and_their_logprobs(client: Client) -> None:
    options = {"n": 3, "temperature": 2, "seed": 1, "logprobs": True, "top_logprobs": 2}
    answer = (await post(client, max_tokens=5, **options)).json()
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    for choice in answer["choices"]:
        assert all(len(entry["top_logprobs"]) == 2 for entry in choice["logprobs"]["content"])
    assert answer["usage"]["completion_tokens"] <= 15


async def test_adapters_are_models_of_their_own(
    client: Client, chat: ChatLlamaEngine, make_adapter: Callable[..., Path]
) -> None:
    adapter = chat.engine.model.adapters.load(make_adapter(60, 2.0))
    listed = (await client.get("/v1/models")).json()["data"]
    assert {"moki", "moki:a60"} <= {model["id"] for model in listed}
    base, other = [(await post(client, model=m)).json() for m in ("moki", "moki:a60")]
    alone = await chat.ainvoke(TASK, adapters={adapter.id: 1.0})
    assert other["choices"][0]["message"]["content"] == alone.text
    assert other["choices"] != base["choices"]
    assert other["system_fingerprint"] != base["system_fingerprint"]
    chat.engine.swap(chat.engine.adapter_set([adapter.id]))
    assert (await post(client)).json()["choices"] == base["choices"]


async def test_many_requests_at_once_are_answered_together(
    client: Client, chat: ChatLlamaEngine
) -> None:
    answers = await asyncio.gather(*(post(client) for _ in range(24)))
    assert len({a.json()["choices"][0]["message"]["content"] for a in answers}) == 1
    assert chat.engine.stats()["steps"] < 24 * 30


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({"model": "gpt-5"}, 404, "model_not_found", "there are: moki"),
        ({"model": "moki:none"}, 404, "model_not_found", "there are: moki"),
        ({"messages": []}, 400, "invalid_request", "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, 400, "invalid_request", "king"),
        ({"messages": [{"content": "x"}]}, 400, "invalid_request", "messages"),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, 400,
         "context_length_exceeded", "shorten"),
        ({"temperature": -1}, 400, "invalid_request", "temperature"),
        ({"logit_bias": {}}, 400, "invalid_request", "logit_bias.*allowed: model"),
        ({"presence_penalty": 1}, 400, "invalid_request", "presence_penalty"),
        ({"tool_choice": "walk", "tools": [RUN]}, 400, "invalid_request", "walk"),
        ({"n": 2, "stream": True}, 400, "invalid_request", "one answer at a time"),
        ({"grammar": "root ::= none"}, 400, "invalid_request", "grammar"),
        ({"grammar": "root ::= none", "stream": True}, 400, "invalid_request", "grammar"),
        ({"response_format": {"type": "json_schema"}}, 400, "invalid_request", "add it"),
    ],
)  # fmt: skip
async def test_bad_request_is_an_error_that_clients_know(
    client: Client, body: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = await post(client, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert httpx.codes.is_client_error(status)
    assert re.search(message, error["message"])


async def test_body_that_is_no_json_or_too_long_is_refused(client: Client) -> None:
    json_type = {"content-type": "application/json"}
    assert (await client.post(CHAT, content=b"{", headers=json_type)).status_code == 400
    assert (await client.post(CHAT, content=b"{}")).status_code == 415
    long = b" " * (LONGEST_BODY_BYTES + 1)
    assert (await client.post(CHAT, content=long, headers=json_type)).status_code == 413


async def test_a_key_is_needed_everywhere_once_there_is_one(chat: ChatLlamaEngine) -> None:
    transport = httpx.ASGITransport(build_app(Endpoint(chat, "moki", "secret")))
    async with Client(transport=transport, base_url="http://here") as client:
        for path in ("/v1/models", "/health"):
            for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secret"}):
                assert (await client.get(path, headers=given)).status_code == 401
            right = {"authorization": "Bearer secret"}
            assert (await client.get(path, headers=right)).status_code == 200
        assert (await post(client)).status_code == 401


async def test_a_foreign_host_name_is_refused(chat: ChatLlamaEngine) -> None:
    transport = httpx.ASGITransport(build_app(Endpoint(chat, "moki"), hosts=["127.0.0.1"]))
    async with Client(transport=transport, base_url="http://evil.example") as client:
        assert (await client.get("/v1/models")).status_code == 400
    async with Client(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/v1/models")).status_code == 200
