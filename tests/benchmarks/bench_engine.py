"""Tokens per second of the engine beside the serial `Llama`, xllamacpp and a bare batch loop.

All contenders take turns on the same prompts within one process, so a busy machine slows all of
them alike; the best of the rounds counts. The bare loop does nothing but fill batches and take the
largest logit: it is the limit of what batching can give on this machine. `engine` has one context as
well; `spread` is the engine as it is by default, with a context for each of up to four processors.

The serial `Llama` answers token lists by `create_completion`, which spares it the chat template and
costs no more than its bare `generate`; it reuses the prefix of its previous prompt by itself.

Run: python tests/benchmarks/bench_engine.py [MODEL.gguf] [--parts throughput,first-token,swaps]
[--counts 1,4,16,32] [--loads SHARED+OWN+ANSWER ...] [--threads N] [--large] [--swaps N] [--rounds N]
`--large` takes a model of 0.35 billion random weights, which is written to a temporary folder. First
tokens and swaps are measured with the last of the loads.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from agentevo.distillation.export import AdapterHeader, LoraPair, write_adapter
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import EngineRequest
from agentevo.models.llama.sampling import SamplingOptions
from agentevo.models.llama.sizing import EngineSettings

ROOT = Path(__file__).parents[2]
SHOWN = ("serial", "xllama", "bare", "engine", "spread")
WIDTH, HEADS, KV_HEADS, HEAD, HIDDEN, BLOCKS, VOCABULARY = 1024, 16, 8, 64, 4096, 20, 32000
Q8_BLOCK_BYTES, Q8_BLOCK = 34, 32

Prompts = Sequence[Sequence[int]]
Contender = Callable[[Prompts], int]


def main() -> None:
    """Print one table per model, then first tokens, swaps and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--parts", default="throughput,first-token,swaps")
    parser.add_argument("--counts", default="1,4,16,32")
    parser.add_argument(
        "--loads",
        type=token_counts,
        nargs="+",
        default=[(30, 10, 60), (180, 20, 60)],
        help="tokens that all prompts may share + of each prompt's own + of an answer",
    )
    parser.add_argument("--threads", type=int, help="of all contenders; default as the engine's")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or find_model()
        if options.large:
            path = Path(folder) / "random-0.35b-q8_0.gguf"
            write_large_model(path)
        threads = options.threads or ((os.cpu_count() or 1) if options.large else 1)
        counts = [int(n) for n in options.counts.split(",")]
        loads = [Load(path, threads, *counted) for counted in options.loads]
        if "throughput" in options.parts:
            for load in loads:
                measure_throughput(load, counts, options.rounds)
        load = loads[-1]
        if "first-token" in options.parts:
            measure_first_token(load)
        if "swaps" in options.parts:
            measure_swaps(load, options.swaps)


def token_counts(text: str) -> tuple[int, int, int]:
    """Return the three numbers of SHARED+OWN+ANSWER."""
    shared, own, answer = map(int, text.split("+"))
    return shared, own, answer


@dataclass(frozen=True)
class Load:
    """What is measured: the model, its threads, and the tokens of a prompt and an answer."""

    path: Path
    n_threads: int
    shared: int
    own: int
    answer: int

    @property
    def length(self) -> int:
        """Tokens that a sequence needs."""
        return self.shared + self.own + self.answer + 16

    def prompts(self, n: int, *, shared: bool, round_no: int) -> Prompts:
        """Return `n` prompts that no earlier round has seen, with or without one beginning."""
        rng = np.random.default_rng([round_no, n, shared])
        ids = rng.integers(3, 250, (n, self.shared + self.own))
        if shared:
            ids[:, : self.shared] = ids[0, : self.shared]
        return [row.tolist() for row in ids]


def find_model() -> Path:
    """Return the shipped seed model or the shared prototype."""
    shipped = sorted((ROOT / "agentevo" / "seed_model").glob("*.gguf"))
    shared = Path(os.environ.get("AGENTEVO_SHARED_DATA", ROOT.parent / "shared" / "data"))
    return [*shipped, shared / "seed-prototype.gguf"][0]


def measure_throughput(load: Load, counts: Sequence[int], rounds: int) -> None:
    """Print generated tokens per second, prompts included, and the ratios that matter."""
    print(
        f"\n{load.path.name}: {load.shared}+{load.own} prompt and {load.answer} answer "
        f"tokens, {load.n_threads} thread(s), {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'n':>3} {'prefix':>7} " + " ".join(f"{name:>8}" for name in SHOWN)
          + f" {'engine/bare':>12} {'spread/serial':>14}")  # fmt: skip
    for n in counts:
        for shared in (False, True):
            with contenders(load, n, shared=shared) as runs:
                best = dict.fromkeys(runs, 0.0)
                for round_no in range(rounds):
                    for i, (name, run) in enumerate(runs.items()):
                        prompts = load.prompts(n, shared=shared, round_no=round_no * 8 + i)
                        started = time.perf_counter()
                        tokens = run(prompts)
                        best[name] = max(best[name], tokens / (time.perf_counter() - started))
            shown = [best.get(name, 0.0) for name in SHOWN]
            print(f"{n:3} {'shared' if shared else 'own':>7} " + " ".join(f"{v:8.0f}" for v in shown)
                  + f" {best['engine'] / best['bare']:12.2f} {best['spread'] / best['serial']:14.2f}")  # fmt: skip


@contextmanager
def contenders(load: Load, n: int, *, shared: bool) -> Iterator[dict[str, Contender]]:
    """Set up what is compared."""
    from llama_cpp import Llama

    path, length, n_threads = load.path, load.length, load.n_threads
    model = LlamaModel(path)
    serial = Llama(
        str(path), n_ctx=length, n_batch=512, n_threads=n_threads, n_threads_batch=n_threads,
        verbose=False,
    )  # fmt: skip
    settings = EngineSettings(n_ctx=length, max_sequences=n, n_threads=n_threads, contexts=1)
    spread = replace(settings, contexts=None)
    bare = Context(model, ContextShape(length, n, length * n, 2048, n_threads))
    server = make_xllamacpp(load, n)
    with (
        LlamaEngine(model, settings) as engine,
        LlamaEngine(model, spread) as spread_engine,
        ThreadPoolExecutor(n) as pool,
    ):
        runs = {
            "serial": lambda prompts: run_serial(serial, prompts, load.answer),
            "engine": lambda prompts: run_engine(engine, prompts, load.answer),
            "spread": lambda prompts: run_engine(spread_engine, prompts, load.answer),
            "bare": lambda prompts: run_bare(bare, prompts, load, shared=shared),
        }
        if server is not None:
            runs["xllama"] = lambda prompts: run_xllamacpp(server, prompts, load.answer, pool)
        yield runs
    bare.close()
    serial.close()


def run_serial(llama: Any, prompts: Prompts, answer: int) -> int:
    """Answer one prompt after the other with the high-level API, as it is."""
    never_end = {int(llama.token_eos()): -100.0}
    usages = [
        llama.create_completion(list(p), max_tokens=answer, temperature=0.0, logit_bias=never_end)[
            "usage"
        ]
        for p in prompts
    ]
    return sum(int(usage["completion_tokens"]) for usage in usages)


def run_engine(engine: LlamaEngine, prompts: Prompts, answer: int) -> int:
    """Answer all prompts together."""
    options = SamplingOptions(max_tokens=answer, ignore_end=True)
    running = [engine.submit(EngineRequest(tuple(p), options)) for p in prompts]
    return sum(len(g.result().tokens) for g in running)


def run_bare(context: Context, prompts: Prompts, load: Load, *, shared: bool) -> int:
    """Fill batches and take the largest logit; a shared beginning is computed once and copied."""
    n = len(prompts)
    for sequence in range(n):
        context.forget(sequence)
    done = 0
    if shared:
        done = load.shared
        context.decode([Piece(0, 0, prompts[0][:done], False)])
        blob = context.save(0)
        for sequence in range(1, n):
            context.restore(sequence, blob)
    newest = [0] * n
    for first in range(0, n, max(1, 2048 // (len(prompts[0]) - done))):
        some = range(first, min(n, first + max(1, 2048 // (len(prompts[0]) - done))))
        logits = context.decode([Piece(s, done, prompts[s][done:], True) for s in some])
        newest[first : first + len(some)] = logits.argmax(axis=1).tolist()
    at = len(prompts[0])
    for i in range(load.answer - 1):
        logits = context.decode([Piece(s, at + i, newest[s : s + 1], True) for s in range(n)])
        newest = logits.argmax(axis=1).tolist()
    return n * load.answer


def make_xllamacpp(load: Load, n: int) -> Any:
    """Return xllamacpp's server, None where the package is missing."""
    try:
        import xllamacpp
    except ImportError:
        return None
    params = xllamacpp.CommonParams()
    params.model.path = str(load.path)
    params.n_ctx = load.length * n
    params.n_parallel = n
    params.cpuparams.n_threads = load.n_threads
    params.cpuparams_batch.n_threads = load.n_threads
    params.warmup = False
    params.verbosity = -1
    return xllamacpp.Server(params)


def run_xllamacpp(server: Any, prompts: Prompts, answer: int, pool: ThreadPoolExecutor) -> int:
    """Answer all prompts from as many threads."""

    def ask(prompt: Sequence[int]) -> int:
        given = server.handle_completions(
            {"prompt": list(prompt), "max_tokens": answer, "temperature": 0.0,
             "ignore_eos": True, "cache_prompt": True}
        )  # fmt: skip
        return int(given["usage"]["completion_tokens"])

    return sum(pool.map(ask, prompts))


def measure_first_token(load: Load) -> None:
    """Print the time to the first token of 16 requests at once."""
    settings = EngineSettings(n_ctx=load.length, max_sequences=16, n_threads=load.n_threads)
    with LlamaEngine.open(load.path, settings) as engine:
        waits = []
        for round_no in range(5):
            prompts = load.prompts(16, shared=True, round_no=100 + round_no)
            options = SamplingOptions(max_tokens=load.answer)
            running = [engine.submit(EngineRequest(tuple(p), options)) for p in prompts]
            waits += [g.result().first_token_s or 0.0 for g in running]
    print(f"\ntime to first token, 16 at once, shared prefix: median "
          f"{1e3 * statistics.median(waits):.0f} ms, worst {1e3 * max(waits):.0f} ms")  # fmt: skip


def measure_swaps(load: Load, swaps: int) -> None:
    """Swap under load; print the wait for the new set's first token, failures and memory."""
    model = LlamaModel(load.path)
    sets = [BASE, *(load_random_adapter(model, seed) for seed in range(3))]
    stop, failures, served = threading.Event(), [], 0
    prompts = load.prompts(8, shared=False, round_no=7)
    with LlamaEngine(model) as engine:

        def keep_busy(prompt: Sequence[int]) -> None:
            nonlocal served
            while not stop.is_set():
                try:
                    options = SamplingOptions(max_tokens=20, ignore_end=True)
                    engine.submit(EngineRequest(tuple(prompt), options), wait_s=None).result()
                    served += 1
                except RuntimeError as error:
                    failures.append(error)

        threads = [threading.Thread(target=keep_busy, args=(p,)) for p in prompts]
        for thread in threads:
            thread.start()
        probe = EngineRequest(
            tuple(prompts[0][:40]), SamplingOptions(max_tokens=1, ignore_end=True)
        )
        calls, stalls, drains, plain = [], [], [], []
        for i in range(swaps):
            plain.append(engine.submit(probe).result().total_s)
            started = time.perf_counter()
            engine.swap(sets[(i + 1) % len(sets)])
            calls.append(time.perf_counter() - started)
            stalls.append(engine.submit(probe).result().total_s)
            if i % 10 == 0:
                started = time.perf_counter()
                engine.swap(sets[i % len(sets)], wait_s=None)
                drains.append(time.perf_counter() - started)
        stop.set()
        for thread in threads:
            thread.join()
    low, mid, high = (1e3 * np.percentile(stalls, q) for q in (5, 50, 95))
    print(
        f"\n{swaps} swaps under the load of 8 clients ({served} requests): {len(failures)} failed"
    )
    print(f"  the call: median {1e6 * statistics.median(calls):.0f} us")
    print(f"  first token of the new set: {low:.1f} / {mid:.1f} / {high:.1f} ms (5, 50, 95 %); the "
          f"same request without a swap: median {1e3 * statistics.median(plain):.1f} ms")  # fmt: skip
    print(f"  draining the old set: median {1e3 * statistics.median(drains):.0f} ms")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(f"  memory of the process: {pages * os.sysconf('SC_PAGE_SIZE') >> 20} MiB")


def load_random_adapter(model: LlamaModel, seed: int) -> AdapterSet:
    """Write and load an adapter of rank 8 on the attention of every block."""
    rng = np.random.default_rng(seed)
    layers = {}
    for block in range(model.file.count("block_count")):
        for ours, theirs in (("attn_q", "q_proj"), ("attn_v", "v_proj")):
            rows, columns = model.file.shapes[f"blk.{block}.{ours}.weight"]
            a, b = rng.normal(size=(8, columns)), rng.normal(size=(rows, 8)) * 0.01
            name = f"model.layers.{block}.self_attn.{theirs}"
            layers[name] = LoraPair(a.astype(np.float32), b.astype(np.float32))
    heads = model.file.count("attention.head_count")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "adapter.gguf"
        header = AdapterHeader(model.file.architecture, heads, heads, 1.0, model.file.sha256)
        write_adapter(path, layers, header)
        return AdapterSet.of({model.adapters.load(path).id: 1.0})


def write_large_model(path: Path) -> None:
    """Write a llama-architecture q8_0 file with random weights."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("model")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(HEAD)
    writer.add_vocab_size(VOCABULARY)
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = [*map(chr, letters), *(chr(256 + i) for i in range(68)), "ab", "<|im_end|>"]
    kinds = [gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL]
    tokens += [f"<unused{i}>" for i in range(VOCABULARY - len(tokens))]
    kinds += [gguf.TokenType.UNUSED] * (VOCABULARY - len(kinds))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)
    shapes = {
        "attn_q": (HEADS * HEAD, WIDTH), "attn_k": (KV_HEADS * HEAD, WIDTH),
        "attn_v": (KV_HEADS * HEAD, WIDTH), "attn_output": (WIDTH, HEADS * HEAD),
        "ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    add_random(writer, "token_embd.weight", (VOCABULARY, WIDTH), rng)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for block in range(BLOCKS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(WIDTH, np.float32))
        for name, shape in shapes.items():
            add_random(writer, f"blk.{block}.{name}.weight", shape, rng)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_random(writer: Any, name: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    """Add a q8_0 tensor: per 32 weights one half-precision scale and 32 signed bytes."""
    rows, columns = shape
    blocks = rng.integers(0, 256, (rows, columns // Q8_BLOCK, Q8_BLOCK_BYTES), np.uint8)
    blocks[:, :, :2] = np.frombuffer(np.float16(0.0004).tobytes(), np.uint8)
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=kind)


if __name__ == "__main__":
    main()
