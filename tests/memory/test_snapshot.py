"""Opening a large store from its snapshot: the same answers, or none of the file at all."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentevo_memory import Draft, Policy, Query, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.snapshot import FILE_NAME, SMALL

CASES = int(os.environ.get("AGENTEVO_CORRUPTIONS", "12"))
COUNT = SMALL + 300
ASKED = [f"note {number} about matter {number * 7} of Alice" for number in range(0, COUNT, 331)]


def opened(folder: Path) -> VectorMemory:
    return VectorMemory(folder, embedder=HashingEmbedder(64), index="exact")


def answers(memory: VectorMemory) -> list[list[tuple[str, float]]]:
    found = [memory.search(Query(text=text, floor=0.0)).hits for text in ASKED]
    return [[(hit.record.id, hit.score) for hit in hits] for hits in found]


def assert_same(
    found: list[list[tuple[str, float]]], wanted: list[list[tuple[str, float]]]
) -> None:
    """The same scores, and the same records wherever no rounding can change their order."""
    for hits, expected in zip(found, wanted, strict=True):
        scores = [score for _, score in expected]
        assert [score for _, score in hits] == pytest.approx(scores, abs=1e-3)
        sure = {record for record, score in expected if score > scores[-1] + 2e-3}
        assert sure <= {record for record, _ in hits}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of which a part was forgotten and one record belongs to a session."""
    folder = tmp_path_factory.mktemp("snapshot") / "store"
    with opened(folder) as memory:
        drafts = [
            Draft(
                text=f"note {number} about matter {number * 7}",
                kind="experience",
                entities=("Alice",) if number % 3 else (),
                session="talk" if number % 2 else "",
                sequence=number // 2,
                ttl_s=None if number % 5 else 1e9,
            )
            for number in range(COUNT)
        ]
        memory.insert_many(drafts)
        memory.forget(Policy(name="fifo", keep=COUNT - 100))
        memory.search("note")
    assert (folder / "index" / FILE_NAME).is_file()
    return folder


def test_a_store_opened_from_its_snapshot_answers_as_one_read_from_the_journal(
    store: Path, tmp_path: Path
) -> None:
    shutil.copytree(store, tmp_path / "bare", ignore=shutil.ignore_patterns("index"))
    with opened(store) as kept, opened(tmp_path / "bare") as read:
        assert_same(answers(kept), answers(read))
        assert kept.follower.rebuilt == ""
        for memory in (kept, read):
            memory.insert(Draft(text=ASKED[0], kind="experience"))
            memory.forget(Policy(name="fifo", keep=COUNT - 200))
        shown = [[[("", score) for _, score in hits] for hits in answers(m)] for m in (kept, read)]
        assert_same(*shown)
        assert len(kept.follower.follow()) == len(kept.follower.index) == COUNT - 200


def test_a_snapshot_holds_no_word_of_the_records(store: Path) -> None:
    content = (store / "index" / FILE_NAME).read_bytes()
    assert not any(word in content for word in (b"note", b"matter", b"Alice", b"alice", b"talk"))


def test_a_snapshot_of_another_journal_or_model_is_not_used(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "index", tmp_path / "index")
    with opened(tmp_path) as memory:
        only = memory.insert("something else").id
        assert set(memory.search(Query(text="note", floor=0.0)).ids) <= {only}
        assert "another journal" in memory.follower.rebuilt
    shutil.copytree(store, tmp_path / "copy")
    with VectorMemory(tmp_path / "copy", embedder=HashingEmbedder(32), index="exact") as memory:
        assert memory.search(ASKED[2]).hits
        assert "another embedder" in memory.follower.rebuilt


def test_an_erased_record_is_in_no_snapshot(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "copy")
    with opened(tmp_path / "copy") as other, opened(tmp_path / "copy") as memory:
        other.search("note")
        erased = memory.search(ASKED[1]).ids[0]
        memory.erase([erased])
        assert not (tmp_path / "copy" / "index" / FILE_NAME).exists()
        other.insert_many(
            [Draft(text=f"later note {number}", kind="experience") for number in range(500)]
        )
        assert erased not in other.search(ASKED[1]).ids
    with opened(tmp_path / "copy") as memory:
        assert erased not in memory.search(ASKED[1]).ids
        assert memory.follower.rebuilt == ""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_corruption_of_a_snapshot_is_found_and_healed(
    store: Path, tmp_path: Path, damage: Callable[[random.Random, Path], None]
) -> None:
    with opened(store) as memory:
        expected = answers(memory)
    rng = random.Random(os.environ.get("AGENTEVO_SEED", "5"))
    for case in range(CASES):
        folder = tmp_path / f"case-{case}"
        shutil.copytree(store, folder)
        file = folder / "index" / FILE_NAME
        damage(rng, file)
        existed = file.exists()
        with opened(folder) as memory:
            assert_same(answers(memory), expected)
            assert bool(memory.follower.rebuilt) == existed
        with opened(folder) as memory:
            assert_same(answers(memory), expected)
            assert memory.follower.rebuilt == ""
        shutil.rmtree(folder)
