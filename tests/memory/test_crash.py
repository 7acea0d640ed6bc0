"""SIGKILL at random moments: what was acknowledged stays, nothing is doubled, indexes agree."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agentevo_memory import Query, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.history import fold

WRITER = """
    import random, sys
    from agentevo_memory import Draft, Outcome, Policy, VectorMemory
    from agentevo_memory.embedding.hashing import HashingEmbedder
    from agentevo_memory.operations.reflect import RuleOperation

    folder, index, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = random.Random(seed)
    memory = VectorMemory(folder, embedder=HashingEmbedder(64), index=index)
    count = memory.journal.query("SELECT count(*) FROM record")[0][0]
    print("ready", flush=True)
    while True:
        number, step = count, rng.random()
        count += 1
        if step < 0.8:
            draft = Draft(text=f"note {number} of seed {seed}", kind="experience")
            record = memory.insert(draft, idempotency_key=f"{seed}-{number}")
            print("insert", record.id, draft.text, flush=True)
        elif step < 0.87:
            rule = RuleOperation(verb="ADD", text=f"rule {number} of {seed}")
            done = memory.reflect(lambda material: [rule], reflector_id=f"{seed}-{number}")
            for each in done.steps:
                print("insert", each.rule_id, rule.text, flush=True)
        elif step < 0.94:
            done = memory.forget(Policy(name="fifo", keep=150))
            for record_id, _ in done.forgotten:
                print("forget", record_id, flush=True)
        else:
            memory.reindex()
"""


def run_until_killed(folder: Path, index: str, seed: int, rng: random.Random) -> list[list[str]]:
    """Return what a writer acknowledged before it was killed a moment after a random line."""
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), index, str(seed)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    lines = [writer.stdout.readline() for _ in range(rng.randrange(40))]
    time.sleep(rng.uniform(0, 0.05))
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    return [line[:-1].split(" ", 2) for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("index", ["exact", "chroma"])
def test_a_kill_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path, index: str) -> None:
    kills = int(os.environ.get("AGENTEVO_KILLS", "6"))
    acknowledged: dict[str, str] = {}
    forgotten: set[str] = set()
    rng = random.Random(os.environ.get("AGENTEVO_SEED", "7"))
    for kill in range(kills):
        for what, record_id, *text in run_until_killed(tmp_path, index, kill, rng):
            if what == "insert":
                acknowledged[record_id] = text[0]
            else:
                forgotten.add(record_id)
        with VectorMemory(tmp_path, embedder=HashingEmbedder(64), index=index) as memory:
            records = {record.id: record for record in memory.records()}
            assert {key: records[key].text for key in acknowledged} == acknowledged
            assert len({record.text for record in records.values()}) == len(records)
            assert all(records[each].status != "active" for each in forgotten)
            live = [r for r in records.values() if r.status in ("active", "candidate")]
            assert len(memory.follower.follow()) == len(memory.follower.index) == len(live)
            for record in rng.sample(live, min(5, len(live))):
                assert (
                    memory.search(Query(text=record.text, floor=0.0, k=20)).ids.count(record.id)
                    == 1
                )
    with VectorMemory(tmp_path, embedder=HashingEmbedder(64), index=index) as memory:
        assert memory.verify().intact
        assert fold(memory.journal.events()) == memory.records()
    assert acknowledged
