"""Rules move between prompt and weights with the adapter that is served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentevo.distillation.registry import AdapterRegistry, Manifest, sha256_of
from agentevo.errors import AdapterError
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.in_weight import reconcile, serve_adapter, teachable_rules
from agentevo_memory import Draft, Provenance, VectorMemory

SPACE = ("default",)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[VectorMemory]:
    store = VectorMemory(tmp_path / "memory", embedder="hashing")
    yield store
    store.close()


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


def rule(memory: VectorMemory, text: str) -> str:
    draft = Draft(text=text, kind="rule", namespace=SPACE, environment="quirks", scope="Moki")
    record_id = memory.insert(draft).id
    memory.promote(record_id, verifier="replay")
    return record_id


def adapter(registry: AdapterRegistry, tmp_path: Path, *rules: str) -> str:
    folder = tmp_path / "-".join(rules)
    folder.mkdir()
    (folder / "adapter.gguf").write_bytes(repr(rules).encode())
    manifest = Manifest(
        "base", sha256_of(folder / "adapter.gguf"), "context", rule_ids=rules, record_ids=rules
    )
    return registry.register(folder, manifest).id


def told(memory: VectorMemory) -> set[str]:
    port = InContextMemory(memory, SPACE)
    found = port.recall("In Moki: move", environment="quirks", scope="Moki", budget_tokens=500)
    return {entry.id for entry in found}


def test_rules_of_the_served_adapter_leave_the_prompt_and_come_back(
    memory: VectorMemory, registry: AdapterRegistry, tmp_path: Path
) -> None:
    move, lift = rule(memory, "In Moki, move is zabo."), rule(memory, "In Moki, lift is teka.")
    made = adapter(registry, tmp_path, move)
    assert told(memory) == {move, lift}
    shift = serve_adapter(memory, registry, made, reason="gate")
    assert (shift.into_weights, told(memory)) == ((move,), {lift})
    assert shift.tokens_saved > 0
    shift = serve_adapter(memory, registry, None, reason="rollback")
    assert (shift.into_prompt, told(memory)) == ((move,), {move, lift})


def test_another_adapter_swaps_the_rules_it_does_not_hold(
    memory: VectorMemory, registry: AdapterRegistry, tmp_path: Path
) -> None:
    move, lift = rule(memory, "In Moki, move is zabo."), rule(memory, "In Moki, lift is teka.")
    first, second = adapter(registry, tmp_path, move), adapter(registry, tmp_path, lift)
    serve_adapter(memory, registry, first, reason="gate")
    serve_adapter(memory, registry, second, reason="gate")
    assert told(memory) == {move}


def test_an_unknown_adapter_moves_nothing(memory: VectorMemory, registry: AdapterRegistry) -> None:
    move = rule(memory, "In Moki, move is zabo.")
    with pytest.raises(AdapterError, match="not a registered adapter"):
        serve_adapter(memory, registry, "none", reason="gate")
    assert told(memory) == {move}


def test_a_kill_between_registry_and_memory_is_mended_when_the_store_is_opened(
    memory: VectorMemory, registry: AdapterRegistry, tmp_path: Path
) -> None:
    move = rule(memory, "In Moki, move is zabo.")
    registry.activate(adapter(registry, tmp_path, move), "killed right after this")
    assert reconcile(memory, registry).into_weights == (move,)
    assert reconcile(memory, registry).into_weights == ()
    assert told(memory) == set()


def test_rules_of_untrusted_origin_are_teachable_only_when_verified(memory: VectorMemory) -> None:
    verified = rule(memory, "In Moki, move is zabo.")
    heard = Provenance(origin="environment", source="quirks")
    memory.insert(
        Draft(text="In Moki, lift is teka.", kind="rule", namespace=SPACE, provenance=heard)
    )
    assert {name: rule.trust for name, rule in teachable_rules(memory).items()} == {verified: 1.0}
    memory.set_status([verified], "quarantined", reason="revoked")
    assert teachable_rules(memory) == {}


def test_rules_of_a_person_stay_teachable_while_an_adapter_holds_them(
    memory: VectorMemory, registry: AdapterRegistry, tmp_path: Path
) -> None:
    said = Draft(
        text="In Moki, move is zabo.",
        kind="rule",
        namespace=SPACE,
        provenance=Provenance(origin="human", source="x"),
    )
    move = memory.insert(said).id
    assert set(teachable_rules(memory)) == {move}
    serve_adapter(memory, registry, adapter(registry, tmp_path, move), reason="gate")
    assert set(teachable_rules(memory)) == {move}
    assert teachable_rules(memory)[move].text == said.text
