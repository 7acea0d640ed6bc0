"""Retrieval on LoCoMo: which share of the evidence turns is among the first hits.

One turn is one record, no language model. The data (CC BY-NC 4.0) is not part of the repository: set
AGENTEVO_SHARED_DATA, or put it into ../shared/data.

    python tests/benchmarks/memory/bench_locomo.py [--embedder minilm-int8] [--conversations 10]

The fixed weights (.6 dense, .4 lexical, .15 name, .6 context, .1 question) were chosen on all ten
conversations; .6/.4 is also the best fixed split on other data. Each half is printed as well.
"""

import argparse
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevo_memory import Draft, Provenance, Query, VectorMemory

ADVERSARIAL = 5


@dataclass
class Score:
    """Sums over questions."""

    questions: int = 0
    recall_5: float = 0.0
    recall_10: float = 0.0
    answerable: int = 0
    any_5: int = 0

    def add(self, evidence: set[str], found: list[str], category: int) -> None:
        """Count one question."""
        self.questions += 1
        self.recall_5 += len(evidence & set(found[:5])) / max(1, len(evidence))
        self.recall_10 += len(evidence & set(found[:10])) / max(1, len(evidence))
        if category != ADVERSARIAL:
            self.answerable += 1
            self.any_5 += bool(evidence & set(found[:5]))

    def line(self, name: str) -> str:
        """Return one line of the report."""
        return (
            f"{name:<28} n={self.questions:<5} recall@5 {self.recall_5 / self.questions:.3f}  "
            f"recall@10 {self.recall_10 / self.questions:.3f}  "
            f"any-hit@5 (1-4) {self.any_5 / max(1, self.answerable):.3f}"
        )


def data_file() -> Path:
    """Return the file of the data set, or end with the next step."""
    folder = Path(os.environ.get("AGENTEVO_SHARED_DATA", "../shared/data"))
    file = folder / "locomo10.json"
    if not file.is_file():
        raise SystemExit(f"no {file}; set AGENTEVO_SHARED_DATA to the folder of locomo10.json")
    return file


def drafts_of(conversation: dict[str, Any], namespace: tuple[str, ...]) -> list[Draft]:
    """Return one draft per turn."""
    names = [name for name in conversation if re.fullmatch(r"session_\d+", name)]
    drafts = []
    for name in sorted(names, key=lambda each: int(each.split("_")[1])):
        for number, turn in enumerate(conversation[name]):
            drafts.append(
                Draft(
                    text=turn["text"],
                    kind="experience",
                    namespace=namespace,
                    entities=(turn["speaker"],),
                    session=name,
                    sequence=number,
                    data={"turn": turn["dia_id"]},
                    provenance=Provenance(origin="user", source=turn["speaker"]),
                )
            )
    return drafts


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--embedder", default="minilm-int8")
    parser.add_argument("--conversations", type=int, default=10)
    options = parser.parse_args()
    conversations = json.loads(data_file().read_text())[: options.conversations]
    whole, halves = Score(), (Score(), Score())
    with tempfile.TemporaryDirectory() as folder:
        memory = VectorMemory(folder, embedder=options.embedder, index="exact")
        insert_s = search_s = 0.0
        for number, sample in enumerate(conversations):
            namespace = (sample["sample_id"],)
            started = time.perf_counter()
            memory.insert_many(drafts_of(sample["conversation"], namespace))
            insert_s += time.perf_counter() - started
            started = time.perf_counter()
            for asked in sample["qa"]:
                if not asked["evidence"]:
                    continue
                evidence = set(re.findall(r"D\d+:\d+", " ".join(asked["evidence"])))
                hits = memory.search(
                    Query(text=asked["question"], namespace=namespace, k=10, floor=0.0)
                ).hits
                found = [hit.record.data["turn"] for hit in hits]
                whole.add(evidence, found, asked["category"])
                halves[2 * number // len(conversations)].add(evidence, found, asked["category"])
            search_s += time.perf_counter() - started
        turns = len(memory.records())
        print(f"{turns} turns, embedder {memory.embedder.model_id}")
        print(whole.line("all conversations"))
        for name, half in zip(("first half", "second half"), halves, strict=True):
            if half.questions:
                print(half.line(name))
        print(f"insert {turns / insert_s:.0f}/s, search {1e3 * search_s / whole.questions:.1f} ms")
        memory.close()


if __name__ == "__main__":
    main()
