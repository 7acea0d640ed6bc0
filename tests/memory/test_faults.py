"""A full disk, an I/O error, a read-only disk: a typed error, and a store as it was before."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentevo_memory import VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import StoreReadOnlyError, StoreWriteError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")

LIMITED = """
    import json, resource, signal, sys
    from agentevo_memory import Draft, Feedback, Policy, VectorMemory
    from agentevo_memory.embedding.hashing import HashingEmbedder
    from agentevo_memory.errors import StoreWriteError

    folder, limit, operation = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    memory = VectorMemory(folder, embedder=HashingEmbedder(), index="exact")
    ids = [record.id for record in memory.records()]
    operations = {
        "insert": lambda: memory.insert_many([Draft(text=f"new {i}") for i in range(40)]),
        "feedback": lambda: memory.feedback(Feedback(ids=tuple(ids), helped=True)),
        "forget": lambda: memory.forget(Policy(name="fifo", keep=0)),
        "erase": lambda: memory.erase(ids[:20]),
        "reindex": lambda: VectorMemory(
            folder, embedder=HashingEmbedder(64), index="exact").reindex(),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        operations[operation]()
        print(json.dumps("done"))
    except StoreWriteError as error:
        print(json.dumps(str(error)))
"""


def fill(folder: Path) -> list[str]:
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact") as memory:
        return [memory.insert(f"note {number} of the first day").id for number in range(40)]


def check(folder: Path, ids: list[str]) -> None:
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact") as memory:
        assert memory.verify().intact
        assert set(ids) <= {record.id for record in memory.records()}
        assert memory.journal.query("PRAGMA integrity_check")[0][0] == "ok"
        memory.insert("there is room again")


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["insert", "feedback", "forget", "erase", "reindex"])
def test_a_write_that_fails_anywhere_is_typed_and_leaves_a_whole_store(
    tmp_path: Path, operation: str
) -> None:
    """The size limit of files is set so that the write fails at many different places."""
    points = int(os.environ.get("AGENTEVO_FAULTS", "6"))
    answers = set()
    for point in range(points):
        folder = tmp_path / f"{operation}-{point}"
        ids = fill(folder)
        largest = max(file.stat().st_size for file in folder.iterdir())
        limit = int(4096 + (largest + 300_000) * point / points)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LIMITED), str(folder), str(limit), operation],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        answers.add(json.loads(done.stdout) == "done")
        check(folder, ids)
    assert False in answers


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@needs_root
def test_a_full_disk_is_a_typed_error_and_nothing_is_lost(small_disk: Path) -> None:
    memory = VectorMemory(small_disk / "store", embedder=HashingEmbedder(), index="exact")
    kept: list[str] = []

    def fill_up() -> None:
        for number in range(2_000):
            kept.append(memory.insert(f"note {number} " + "x" * 2_000).id)

    with pytest.raises(StoreWriteError, match="disk is full"):
        fill_up()
    assert kept
    assert {record.id for record in memory.records()} == set(kept)
    assert memory.verify().intact
    assert memory.search("note 1").hits
    memory.close()


@needs_root
def test_a_read_only_disk_can_be_read_and_not_written(small_disk: Path) -> None:
    folder = small_disk / "store"
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact") as memory:
        memory.insert("still readable")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises((StoreReadOnlyError, StoreWriteError)):
        VectorMemory(folder, embedder=HashingEmbedder(), index="exact").insert("no")
    with VectorMemory(folder, embedder=HashingEmbedder(), index="exact", read_only=True) as reader:
        assert reader.search("readable").hits
