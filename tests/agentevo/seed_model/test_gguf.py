"""The GGUF file: loads in llama.cpp, computes the same, renders conversations as trained."""

import json
from pathlib import Path
from random import Random

import llama_cpp
import numpy as np
import pytest
import torch

from agentevo.errors import ModelError
from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.models.llama.template import ChatTemplate
from agentevo.seed_model.curriculum import HARDEST
from agentevo.seed_model.episodes import draw_episode
from agentevo.seed_model.network import rotations, run
from agentevo.seed_model.player import TOOL
from agentevo.seed_model.shape import Shape, Weights
from agentevo.seed_model.shipped import read_card, seed_model_path
from agentevo.seed_model.tokenizer import load_tokenizer
from agentevo.seed_model.transcript import Role, Transcript


def logits_of(path: Path, ids: list[int]) -> np.ndarray:
    model = llama_cpp.Llama(str(path), n_ctx=1024, n_threads=1, logits_all=True, verbose=False)
    model.eval(ids)
    return np.array(model.scores[: len(ids)])


def test_llama_cpp_computes_what_torch_computes(
    untrained: Path, shape: Shape, weights: Weights
) -> None:
    ids = load_tokenizer().encode(draw_episode(Random(5)).text).ids[:300]
    with torch.no_grad():
        hidden = run(weights, shape, torch.tensor([ids]), rotations(shape))
        ours = (hidden @ weights["token_embd.weight"].T)[0].numpy()
    theirs = logits_of(untrained, ids)
    assert np.abs(ours - theirs).max() < 0.05 * ours.std()


@pytest.mark.parametrize("seed", range(12))
def test_the_chat_template_renders_conversations_byte_for_byte_as_trained(
    chat_model: ChatLlamaEngine, seed: int
) -> None:
    transcript = draw_episode(Random(seed), HARDEST)
    vocab = chat_model.engine.model.vocabulary
    template = ChatTemplate.of(chat_model.engine.model)
    tools = [TOOL] if "\nTools: run<" in transcript.text else []
    if "\nTools: " in transcript.text and not tools:
        name = transcript.text.split("\nTools: ")[1].split("<")[0]
        tools = [{"type": "function", "function": {"name": name}}]
    rendered = template.tokens(transcript.messages, tools)
    assert rendered == vocab.tokenize(transcript.text + "<|im_start|>assistant\n")


def test_arguments_given_as_an_object_render_the_same(chat_model: ChatLlamaEngine) -> None:
    transcript = Transcript()
    transcript.user("x")
    transcript.assistant([], call=[("do lock obj box", Role.COMMAND)])
    call = transcript.messages[1]["tool_calls"][0]["function"]
    call["arguments"] = json.loads(call["arguments"])
    template = ChatTemplate.of(chat_model.engine.model)
    expected = transcript.text + "<|im_start|>assistant\n"
    assert template.tokens(transcript.messages) == chat_model.engine.model.vocabulary.tokenize(
        expected
    )


def test_the_card_is_in_the_file(untrained: Path) -> None:
    assert read_card(untrained) == {"summary": "untrained"}


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot be read"):
        read_card(tmp_path / "x.gguf")


def test_the_shipped_model_says_what_it_is(shipped: Path) -> None:
    card = read_card(shipped)
    assert seed_model_path() == shipped
    assert shipped.stat().st_size <= 8 << 20
    assert "not a capable assistant" in card["summary"]
    assert card["tokens"] > 1_000_000
    assert {row["name"] for row in card["measured"]["rows"]} >= {"valid tool calls"}
