"""Adapters are immutable, verified when read, and the pointer to the active one has a history."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from agentevo.distillation.registry import AdapterRegistry, Manifest, sha256_of
from agentevo.errors import AdapterError


def staged(folder: Path, content: bytes, **fields: object) -> tuple[Path, Manifest]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.gguf").write_bytes(content)
    manifest = Manifest("base", sha256_of(folder / "adapter.gguf"), "context", **fields)  # type: ignore[arg-type]
    return folder, manifest


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


def register(registry: AdapterRegistry, tmp_path: Path, content: bytes, **fields: object) -> str:
    return registry.register(*staged(tmp_path / content.hex(), content, **fields)).id


def test_a_registered_adapter_is_read_back_whole(registry: AdapterRegistry, tmp_path: Path) -> None:
    identifier = register(registry, tmp_path, b"one", rule_ids=("r1",), record_ids=("r1", "e1"))
    adapter = registry.get(identifier[:6])
    assert adapter.manifest.rule_ids == ("r1",)
    assert adapter.gguf.read_bytes() == b"one"
    assert registry.holding(["e1", "e2"]) == {identifier: ("e1",)}
    assert registry.holding(["e2"]) == {}


def test_the_same_weights_register_once(registry: AdapterRegistry, tmp_path: Path) -> None:
    assert register(registry, tmp_path, b"one") == register(registry, tmp_path, b"one")
    assert len(registry.ids()) == 1


@pytest.mark.parametrize("file", ["adapter.gguf", "manifest.json"])
def test_an_adapter_edited_by_hand_is_refused(
    registry: AdapterRegistry, tmp_path: Path, file: str
) -> None:
    identifier = register(registry, tmp_path, b"one")
    path = registry.root / identifier / file
    path.write_bytes(path.read_bytes() + b" edited")
    with pytest.raises(AdapterError, match=r"hash mismatch|damaged"):
        registry.activate(identifier, "try")
    assert registry.active_id is None


def test_weights_of_another_manifest_are_refused(registry: AdapterRegistry, tmp_path: Path) -> None:
    folder, manifest = staged(tmp_path / "x", b"one")
    (folder / "adapter.gguf").write_bytes(b"two")
    with pytest.raises(AdapterError, match="not the file of its manifest"):
        registry.register(folder, manifest)
    assert registry.ids() == []


def test_rollback_returns_to_what_was_served_before(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    first, second = (register(registry, tmp_path, word) for word in (b"one", b"two"))
    registry.activate(first, "gate")
    registry.activate(second, "gate")
    assert registry.rollback().adapter_id == first
    assert registry.active_id == first
    assert len(registry.history()) == 3


def test_rollback_of_the_first_adapter_returns_to_the_base(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    registry.activate(register(registry, tmp_path, b"one"), "gate")
    assert registry.rollback().adapter_id is None


def test_rollback_of_nothing_says_so(registry: AdapterRegistry) -> None:
    with pytest.raises(AdapterError, match="nothing to roll back"):
        registry.rollback()


def test_an_unknown_adapter_lists_what_exists(registry: AdapterRegistry, tmp_path: Path) -> None:
    identifier = register(registry, tmp_path, b"one")
    with pytest.raises(AdapterError, match=f"'zzz' is not a registered adapter.*{identifier}"):
        registry.get("zzz")


def test_garbage_collection_keeps_the_active_one_and_its_parents(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    parent = register(registry, tmp_path, b"parent", created=1.0)
    old = register(registry, tmp_path, b"old", created=2.0)
    active = register(registry, tmp_path, b"active", created=3.0, parents=(parent,))
    new = register(registry, tmp_path, b"new", created=4.0)
    registry.activate(active, "gate")
    assert registry.collect_garbage(keep=1) == [old]
    assert registry.ids() == [parent, active, new]


def _register_forever(root: Path, source: Path) -> None:
    registry = AdapterRegistry(root)
    number = 0
    while True:
        number += 1
        registry.register(*staged(source / str(number), b"x" * 100_000 + str(number).encode()))


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_adapters_or_none(tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    context = multiprocessing.get_context("spawn")
    for round_number in range(int(os.environ.get("AGENTEVO_KILLS", "5"))):
        child = context.Process(
            target=_register_forever, args=(root, tmp_path / f"s{round_number}")
        )
        child.start()
        child.join(timeout=1.0 + 0.037 * round_number)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        registry = AdapterRegistry(root)
        for identifier in registry.ids():
            assert registry.get(identifier).gguf.stat().st_size > 100_000
    assert registry.ids()
