"""Several processes on one store: every committed record is found at once, by everyone."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from agentevo_memory import VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder

WORKER = """
    import json, sys, time
    from agentevo_memory import Draft, Query, VectorMemory
    from agentevo_memory.embedding.hashing import HashingEmbedder
    from agentevo_memory.errors import StoreBusyError

    folder, index, name, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    memory = VectorMemory(folder, embedder=HashingEmbedder(64), index=index)
    done = {"written": 0, "checked": 0, "missed": 0, "refused": 0, "index": "", "ids": []}
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        try:
            text = f"note {number} written by worker {name}"
            done["ids"].append(memory.insert(Draft(text=text, kind="experience")).id)
            done["written"] += 1
        except StoreBusyError:
            done["refused"] += 1
        row = memory.journal.query(
            "SELECT id, gist FROM record WHERE status='active' ORDER BY rid DESC LIMIT 1")
        if row:
            found = memory.search(Query(text=row[0][1], floor=0.0, k=3)).ids
            done["checked"] += 1
            done["missed"] += row[0][0] not in found
        time.sleep(0.002)
    done["index"] = memory.follower.index.name
    memory.close()
    print(json.dumps(done))
"""


def run_workers(folder: Path, index: str, count: int, seconds: float) -> list[dict[str, object]]:
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                textwrap.dedent(WORKER),
                str(folder),
                index,
                str(number),
                str(seconds),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    results = []
    for worker in workers:
        out, _ = worker.communicate(timeout=seconds + 240)
        assert worker.returncode == 0
        results.append(json.loads(out))
    return results


@pytest.mark.slow
@pytest.mark.parametrize("index", ["exact", "chroma"])
def test_four_processes_find_every_committed_record_at_once(tmp_path: Path, index: str) -> None:
    seconds = float(os.environ.get("AGENTEVO_SOAK_S", "5"))
    results = run_workers(tmp_path, index, 4, seconds)
    written = {each for result in results for each in result["ids"]}  # type: ignore[attr-defined]
    assert all(result["checked"] and not result["missed"] for result in results)
    if index == "chroma":
        assert sorted(str(result["index"]) for result in results) == ["chroma"] + ["exact"] * 3
    with VectorMemory(tmp_path, embedder=HashingEmbedder(64), index="exact") as memory:
        assert {record.id for record in memory.records()} == written
        assert memory.verify().intact
        assert len(memory.follower.follow()) == len(written)
