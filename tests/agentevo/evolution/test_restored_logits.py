"""What a real engine computes is the same again, digit by digit, after rolling back and forward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from agentevo.config import Settings
from agentevo.distillation.export import AdapterHeader, LoraPair, write_adapter
from agentevo.distillation.registry import AdapterRegistry, Manifest, sha256_of
from agentevo.errors import AdapterError
from agentevo.evolution.parts import Parts
from agentevo.evolution.restoring import restore_generation
from agentevo.generations import Generation, GenerationLog, MemoryPosition
from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.in_weight import hold_rules
from agentevo.updating.serving import served_model
from agentevo_memory import Draft, VectorMemory
from agentevo_memory.branch import position

RULES = ("In Moki move is zabo", "In Moki lift needs seal")
PROFILE: dict[str, Any] = {"namespace": "default", "search": {}}
pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def chat() -> ChatLlamaEngine:
    return ChatLlamaEngine.from_uri("", max_tokens=24, logprobs=True, top_logprobs=5)


def make_adapter(home: Path, chat: ChatLlamaEngine, rules: Sequence[str]) -> str:
    """Register a random adapter of the seed model that claims to hold rules."""
    file = chat.engine.model.file
    heads = file.count("attention.head_count")
    rows, columns = file.shapes["blk.0.attn_q.weight"]
    source = np.random.default_rng(0)
    a = 0.1 * source.normal(size=(4, columns)).astype(np.float32)
    b = 0.3 * source.normal(size=(rows, 4)).astype(np.float32)
    layers = {f"model.layers.{i}.self_attn.q_proj": LoraPair(a, b) for i in range(2)}
    folder = home / "made"
    folder.mkdir()
    header = AdapterHeader(file.architecture, heads, heads, 1.0, file.sha256)
    write_adapter(folder / "adapter.gguf", layers, header)
    manifest = Manifest(
        file.sha256, sha256_of(folder / "adapter.gguf"), "context", rule_ids=tuple(rules)
    )
    return AdapterRegistry(home / "adapters").register(folder, manifest).id


@pytest.fixture
def home(tmp_path: Path, chat: ChatLlamaEngine) -> Path:
    """A home with two generations: rules told by the base, rules held by an adapter."""
    log, sha = GenerationLog(tmp_path / "generations.sqlite"), chat.engine.model.file.sha256
    evidence = {"model": "seed"}
    with VectorMemory(tmp_path / "memory", embedder="hashing") as memory:
        ids = []
        for text in RULES:
            draft = Draft(text=text, kind="rule", environment="quirks", scope="Moki")
            ids.append(memory.insert(draft).id)
            memory.promote(ids[-1], verifier="replay")
        told = Generation(sha, None, MemoryPosition(*position(tmp_path / "memory")), PROFILE)
        log.create(told, parent=None, evidence=evidence)
        log.serve(told.id, reason="told")
        adapter = make_adapter(tmp_path, chat, ids)
        hold_rules(memory, ids, reason="held")
    held = Generation(sha, adapter, MemoryPosition(*position(tmp_path / "memory")), PROFILE)
    log.create(held, parent=told.id, evidence=evidence)
    log.serve(held.id, reason="held")
    log.tag(told.id, "told")
    log.tag(held.id, "held")
    return tmp_path


def behaviour(home: Path, chat: ChatLlamaEngine) -> tuple[Any, ...]:
    """What is told, and every log-probability of the answer to it."""
    with VectorMemory(home / "memory", embedder="hashing", clock=lambda: 2e9) as memory:
        port = InContextMemory(memory, ("default",))
        asked: dict[str, Any] = {"environment": "quirks", "scope": "Moki", "budget_tokens": 500}
        told = [(r.text, r.score, r.trusted) for r in port.recall("In Moki: move", **asked)]
    system = SystemMessage("\n".join(text for text, _, _ in told) or "You operate a service.")
    answer = chat.invoke([system, HumanMessage("In Moki: move the box to the shelf.")])
    return told, answer.text, answer.response_metadata["logprobs"]


def test_logits_and_retrieval_are_the_same_after_rolling_back_and_forward(
    home: Path, chat: ChatLlamaEngine
) -> None:
    settings = Settings(home=home)
    parts = Parts(model=chat, embedder="hashing")
    restore_generation(settings, "held", parts=parts)
    held = behaviour(home, chat)
    restore_generation(settings, "told", parts=parts)
    told = behaviour(home, chat)
    assert [text for text, *_ in told[0]] != []
    assert held[0] == []
    assert told[2] != held[2]
    for name, expected in (("held", held), ("told", told), ("held", held)):
        restore_generation(settings, name, parts=parts)
        assert behaviour(home, chat) == expected
        again = served_model(chat, home, told=True)
        assert isinstance(again, ChatLlamaEngine)
        assert behaviour(home, again) == expected


def test_a_damaged_adapter_is_not_served_and_nothing_moves(
    home: Path, chat: ChatLlamaEngine
) -> None:
    settings, parts = Settings(home=home), Parts(model=chat, embedder="hashing")
    restore_generation(settings, "told", parts=parts)
    before = behaviour(home, chat)
    (found,) = (home / "adapters").glob("*/adapter.gguf")
    found.write_bytes(found.read_bytes()[:-1] + b"\xff")
    with pytest.raises(AdapterError, match="changed after registration"):
        restore_generation(settings, "held", parts=parts)
    assert behaviour(home, chat) == before
    assert GenerationLog(home / "generations.sqlite").served_id == GenerationLog(
        home / "generations.sqlite"
    ).resolve("told")


def test_rules_held_by_an_adapter_of_another_base_are_not_lost_silently(
    home: Path, chat: ChatLlamaEngine
) -> None:
    restore_generation(Settings(home=home), "held", parts=Parts(model=chat, embedder="hashing"))
    from agentevo.models.scripted import ScriptedModel

    other = ScriptedModel(responses=["hm"])
    assert served_model(other, home, told=False) is other
    with pytest.raises(AdapterError, match="which another base model cannot load"):
        served_model(other, home, told=True)
