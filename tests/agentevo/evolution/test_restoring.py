"""Rolling back and forward: memory and weights together, exactly."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.evolution import evolve
from agentevo.evolution.parts import Parts
from agentevo.evolution.restoring import restore_generation
from agentevo.generations import GenerationLog
from agentevo.generations.log import GenerationError
from agentevo.objective import Objective
from agentevo_memory import Query, VectorMemory
from agentevo_memory.errors import RecordError

QUIRKS = Objective("quirks")
CLOCK = 2_000_000_000.0
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evolved_once(
    make_settings: Callable[..., Settings],
    make_parts: Callable[[Path], Parts],
    two_worlds: Any,
    weighing: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    home = tmp_path_factory.mktemp("evolved") / "home"
    settings, parts = make_settings(home, **two_worlds), make_parts(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        report = evolve(settings, objective=QUIRKS, recipe=weighing(rounds=1), parts=parts)
    assert report.adapter is not None
    return home


@pytest.fixture
def evolved(
    evolved_once: Path,
    make_settings: Callable[..., Settings],
    make_parts: Callable[[Path], Parts],
    two_worlds: Any,
    tmp_path: Path,
) -> tuple[Settings, Parts]:
    """A home with three generations: empty, rules told, rules in weights."""
    home = tmp_path / "home"
    shutil.copytree(evolved_once, home)
    return make_settings(home, **two_worlds), make_parts(home)


def retrieved(settings: Settings) -> list[Any]:
    """What searches return, with scores and whole records, but for their counts of changes."""
    folder = settings.home / "memory"
    with VectorMemory(folder, embedder="hashing", clock=lambda: CLOCK) as memory:
        found = []
        for text in ("move the red box to the shelf", "paint the cup", "Besa"):
            for kinds in (("rule",), ("experience",)):
                asked = Query(text=text, namespace=("default",), kinds=kinds, k=50)
                hits = memory.search(asked).hits
                for hit in hits:
                    record = hit.record.to_dict()
                    del record["revision"]
                    found.append((text, hit.score, hit.evidence, dict(hit.explain), record))
        assert memory.verify().intact
        return found


def adapter_of(parts: Parts) -> str | None:
    assert parts.distiller is not None
    return parts.distiller.active_id


def served(settings: Settings) -> list[str]:
    log = GenerationLog(settings.home / "generations.sqlite")
    order = [entry.generation_id for entry in log.entries("served")]
    return list(dict.fromkeys(order))


def test_rolling_back_and_forward_restores_retrieval_and_adapter_exactly(
    evolved: tuple[Settings, Parts],
) -> None:
    settings, parts = evolved
    empty, told, weights = served(settings)
    held = retrieved(settings)
    adapter = adapter_of(parts)
    restore_generation(settings, told, parts=parts)
    assert adapter_of(parts) is None
    with_rules = retrieved(settings)
    assert with_rules != held
    restore_generation(settings, empty, parts=parts)
    assert retrieved(settings) == []
    restore_generation(settings, weights, parts=parts)
    assert (retrieved(settings), adapter_of(parts)) == (held, adapter)
    restore_generation(settings, parts=parts)
    assert retrieved(settings) == []
    restore_generation(settings, told, parts=parts)
    assert retrieved(settings) == with_rules
    log = GenerationLog(settings.home / "generations.sqlite")
    log.verify()
    assert log.served_id == told
    assert len(log.ids()) == 3 + len(log.entries("refused"))


def test_restoring_again_changes_nothing(evolved: tuple[Settings, Parts]) -> None:
    settings, parts = evolved
    _, told, _ = served(settings)
    first = restore_generation(settings, told, parts=parts)
    again = restore_generation(settings, told, parts=parts)
    assert first.memory.restored
    assert (again.memory.restored, again.memory.withdrawn) == ((), ())
    assert again.memory.head == first.memory.head


def test_an_evolution_goes_on_from_what_was_restored(evolved: tuple[Settings, Parts]) -> None:
    settings, parts = evolved
    _, told, _ = served(settings)
    restore_generation(settings, told, parts=parts)
    report = evolve(settings, objective=QUIRKS, recipe="stateless", parts=parts)
    assert report.generations == {"before": told, "served": told}


def test_another_namespace_stays_as_it_is(evolved: tuple[Settings, Parts]) -> None:
    settings, parts = evolved
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        from agentevo_memory import Draft

        other = memory.insert(Draft(text="a fact of others", namespace=("others",))).id
    restore_generation(settings, served(settings)[0], parts=parts)
    with VectorMemory(settings.home / "memory", embedder="hashing") as memory:
        assert memory.get(other).status == "active"


def test_a_refused_generation_is_not_restored(
    evolved: tuple[Settings, Parts], believer: Any
) -> None:
    settings, parts = evolved
    log = GenerationLog(settings.home / "generations.sqlite")
    present = log.get("served")
    refused = log.create(type(present)(present.base_sha256), parent=None)
    log.refuse(refused, {})
    with pytest.raises(GenerationError, match="refused by the gate"):
        restore_generation(settings, refused, parts=parts)


def test_another_base_model_is_refused_and_nothing_changes(
    evolved: tuple[Settings, Parts], believer: Any
) -> None:
    settings, parts = evolved
    before = retrieved(settings)
    other = Parts(believer(reads_notes=True), "hashing", parts.distiller)
    replaced = settings.model_copy(
        update={"model": settings.model.model_copy(update={"spec": "scripted:wrong"})}
    )
    with pytest.raises(RunError, match="was replaced"):
        restore_generation(replaced, served(settings)[1], spec="scripted:wrong", parts=other)
    assert retrieved(settings) == before


def test_another_memory_is_refused(evolved: tuple[Settings, Parts], tmp_path: Path) -> None:
    settings, parts = evolved
    moved = settings.memory.model_copy(update={"path": tmp_path / "elsewhere"})
    other = settings.model_copy(update={"memory": moved})
    with pytest.raises(RecordError, match="never was at event"):
        restore_generation(other, served(settings)[1], parts=parts)
