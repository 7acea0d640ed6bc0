"""Shared parts: an untrained model as a GGUF file, and a chat model on it."""

from pathlib import Path

import pytest

from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.seed_model.gguf_writer import write_gguf
from agentevo.seed_model.network import initial_weights
from agentevo.seed_model.shape import Shape, Weights
from agentevo.seed_model.shipped import PATTERN
from agentevo.seed_model.tokenizer import vocabulary

SEED_MODEL = Path(__file__).parents[3] / "agentevo" / "seed_model"


@pytest.fixture(scope="session")
def shape() -> Shape:
    return Shape(len(vocabulary().tokens), layers=2)


@pytest.fixture(scope="session")
def weights(shape: Shape) -> Weights:
    return initial_weights(shape)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, shape: Shape, weights: Weights) -> Path:
    path = tmp_path_factory.mktemp("model") / "untrained.gguf"
    card = {"summary": "untrained"}
    write_gguf(path, weights, shape, vocabulary=vocabulary(), card=card, precision="f32")
    return path


@pytest.fixture(scope="session")
def chat_model(untrained: Path) -> ChatLlamaEngine:
    return ChatLlamaEngine.from_uri(str(untrained), max_tokens=32)


@pytest.fixture(scope="session")
def shipped() -> Path:
    found = sorted(SEED_MODEL.glob(PATTERN))
    if not found:
        pytest.skip("no seed model is shipped")
    return found[-1]
