"""Insert, search, filter, forget, reopen: ours beside Chroma, InMemoryStore and mem0, in one run.

All get the same texts and the same ready-made vectors, so that no embedding is timed except in the row
that says so. Durations are medians in milliseconds; ratios below 1 mean ours is faster.

    python tests/benchmarks/memory/bench_store.py [--sizes 1000 10000] [--skip mem0]

With --folder the filled stores are kept: `--only fill` prepares them, `--only measure` then measures.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from engines import Chroma, Corpus, Engine, InMemory, Mem0, Ours

from agentevo_memory import VectorMemory
from agentevo_memory.embedding.base import init_embedder

REPEATS = 60
LIMIT_S = 6.0


def median_ms(call: Callable[[int], None], repeats: int) -> float:
    """Return the median wall time of a call; slow calls are repeated less often."""
    times: list[float] = []
    end = time.perf_counter() + LIMIT_S
    while len(times) < repeats and (len(times) < 3 or time.perf_counter() < end):
        started = time.perf_counter()
        call(len(times))
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def prepare(engine: Engine, corpus: Corpus, mark: Path) -> float:
    """Open an engine, fill it unless it was filled before, and return the records per second."""
    engine.open(corpus)
    if engine.keeps and mark.exists():
        return float(mark.read_text())
    started = time.perf_counter()
    engine.fill()
    rate = float(corpus.size / (time.perf_counter() - started))
    if engine.keeps:
        mark.write_text(str(rate))
    return rate


def measure(engine: Engine) -> dict[str, float]:
    """Return the figures of one engine that is open and filled."""
    started = time.perf_counter()
    engine.search(0)
    figures = {"first": 1e3 * (time.perf_counter() - started)}
    engine.search(1)
    figures["search"] = median_ms(engine.search, REPEATS)
    figures["filtered"] = median_ms(engine.filtered, REPEATS)
    figures["insert"] = median_ms(engine.insert, 200)
    figures["forget 10"] = median_ms(engine.forget, 10)
    started = time.perf_counter()
    engine.reopen()
    figures["reopen"] = 1e3 * (time.perf_counter() - started)
    engine.close()
    return figures


FIGURES = ("fill /s", "first", "search", "filtered", "insert", "forget 10", "reopen")


def show_row(name: str, figures: dict[str, float]) -> None:
    """Print the figures of one engine as soon as they are known."""
    row = "".join(f"{figures[figure]:>12.2f}" for figure in FIGURES)
    print(f"{name:<26}{row}", flush=True)


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
    results: dict[str, dict[str, float]] = {}
    if options.only != "fill":
        print(f"\n{size} records (medians in ms)\n{'':<26}", end="")
        print("".join(f"{figure:>12}" for figure in FIGURES), flush=True)
    for number, engine in enumerate(engines):
        skipped = any(name in engine.name for name in options.skip)
        if skipped or (options.only == "fill" and not engine.keeps):
            continue
        rate = prepare(engine, corpus, scratch / f"filled-{size}-{number}")
        if options.only == "fill":
            engine.close()
        else:
            results[engine.name] = {"fill /s": rate, **measure(engine)}
            show_row(engine.name, results[engine.name])
    if results:
        show_ratios(results)


if __name__ == "__main__":
    main()
