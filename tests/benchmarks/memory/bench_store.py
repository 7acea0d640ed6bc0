"""Insert, search, filter, forget, reopen: ours beside Chroma, InMemoryStore and mem0, in one run.

All get the same texts and the same ready-made vectors, so that no embedding is timed except in the row
that says so. Durations are medians in milliseconds; ratios below 1 mean ours is faster. Searches are
made in turns, ten of each engine after the other, so a busy machine slows all of them alike.

    python tests/benchmarks/memory/bench_store.py [--sizes 1000 10000] [--skip mem0]

With --folder the filled stores are kept: `--only fill` prepares them, `--only measure` then measures.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engines import Chroma, Corpus, Engine, InMemory, Mem0, Ours

from agentevo_memory import VectorMemory
from agentevo_memory.embedding.base import init_embedder

REPEATS = 60
LIMIT_S = 6.0
ROW = 10


def median_ms(call: Callable[[int], None], repeats: int) -> float:
    """Return the median wall time of a call; slow calls are repeated less often."""
    return in_turns([call], repeats)[0]


def in_turns(calls: Sequence[Callable[[int], None]], repeats: int) -> list[float]:
    """Return the median wall time of each call, made in turns of `ROW`; slow ones drop out."""
    times: list[list[float]] = [[] for _ in calls]
    for first in range(0, repeats, ROW):
        for call, taken in zip(calls, times, strict=True):
            for i in range(first, min(first + ROW, repeats)):
                if len(taken) >= 3 and sum(taken) > 1e3 * LIMIT_S:
                    break
                started = time.perf_counter()
                call(i)
                taken.append(1e3 * (time.perf_counter() - started))
    return [statistics.median(taken) for taken in times]


def prepare(engine: Engine, corpus: Corpus, mark: Path) -> float:
    """Open an engine, fill it unless it was filled before, and return the records per second."""
    engine.open(corpus)
    if engine.keeps and mark.exists():
        return float(mark.read_text())
    started = time.perf_counter()
    engine.fill()
    rate = float(corpus.size / (time.perf_counter() - started))
    print(f"filled {engine.name}", file=sys.stderr)
    if engine.keeps:
        mark.write_text(str(rate))
    return rate


def measure(engines: Sequence[Engine]) -> list[dict[str, float]]:
    """Return the figures of engines that are open and filled; they are searched in turns."""
    figures: list[dict[str, float]] = []
    for engine in engines:
        started = time.perf_counter()
        engine.search(0)
        figures.append({"first": 1e3 * (time.perf_counter() - started)})
        engine.search(1)
    for name in ("search", "filtered"):
        calls = [getattr(engine, name) for engine in engines]
        for each, median in zip(figures, in_turns(calls, REPEATS), strict=True):
            each[name] = median
    for engine, each in zip(engines, figures, strict=True):
        each["insert"] = median_ms(engine.insert, 200)
        each["forget 10"] = median_ms(engine.forget, 10)
        started = time.perf_counter()
        engine.reopen()
        each["reopen"] = 1e3 * (time.perf_counter() - started)
        engine.close()
    return figures


FIGURES = ("fill /s", "first", "search", "filtered", "insert", "forget 10", "reopen")


def show(size: int, results: dict[str, dict[str, float]]) -> None:
    """Print the figures of all engines at one size."""
    print(f"\n{size} records (medians in ms)\n{'':<26}" + "".join(f"{f:>12}" for f in FIGURES))
    for name, figures in results.items():
        print(f"{name:<26}" + "".join(f"{figures[figure]:>12.2f}" for figure in FIGURES))
    show_ratios(results)


def show_ratios(results: dict[str, dict[str, float]]) -> None:
    """Print ours beside the best peer, and the best durable one for inserting."""
    ours = results["agentevo (exact)"]
    peers = {name: each for name, each in results.items() if not name.startswith("agentevo")}
    durable = {name: each for name, each in peers.items() if "InMemory" not in name}
    for figure, others in (("search", peers), ("filtered", peers), ("insert", durable)):
        if others:
            best = min(others, key=lambda name: others[name][figure])
            ratio = ours[figure] / others[best][figure]
            print(f"{figure}: ours / best peer ({best}) = {ratio:.2f}", flush=True)


def embedded_insert_ms(folder: Path) -> float:
    """Return the median of a single insert with embedding."""
    with VectorMemory(folder, embedder=init_embedder(), index="exact") as memory:
        memory.insert("warm up")
        return median_ms(lambda i: _insert(memory, f"The {i}th meeting starts at noon"), 100)


def _insert(memory: VectorMemory, text: str) -> None:
    memory.insert(text)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--skip", nargs="*", default=[], help="such as mem0")
    parser.add_argument("--folder", type=Path, help="keep the filled stores here")
    parser.add_argument("--only", choices=["fill", "measure"])
    options = parser.parse_args()
    scratch = options.folder or Path(tempfile.mkdtemp())
    scratch.mkdir(exist_ok=True)
    try:
        if options.only != "fill":
            print(f"single insert with embedding: {embedded_insert_ms(scratch / 'e'):.2f} ms")
        for size in options.sizes:
            run(size, scratch, options)
    finally:
        if options.folder is None:
            shutil.rmtree(scratch, ignore_errors=True)


def run(size: int, scratch: Path, options: argparse.Namespace) -> None:
    """Fill and measure every engine at one size."""
    corpus = Corpus(size)
    engines: list[Engine] = [
        Ours(scratch / f"exact{size}", "exact"),
        Ours(scratch / f"ours-chroma{size}", "chroma"),
        Chroma(scratch / f"chroma{size}"),
        InMemory(),
        Mem0(scratch / f"mem0{size}"),
    ]
    compared = [each for each in engines if not any(name in each.name for name in options.skip)]
    if options.only == "fill":
        compared = [engine for engine in compared if engine.keeps]
    rates = [prepare(each, corpus, scratch / f"filled-{size}-{each.name}") for each in compared]
    if options.only == "fill":
        for engine in compared:
            engine.close()
        return
    results = {
        engine.name: {"fill /s": rate, **figures}
        for engine, rate, figures in zip(compared, rates, measure(compared), strict=True)
    }
    show(size, results)


if __name__ == "__main__":
    main()
