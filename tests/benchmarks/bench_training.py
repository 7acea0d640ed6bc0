"""Speed and memory of the trainer: our step beside a plain PEFT loop on the same rows, in one run.

    python tests/benchmarks/bench_training.py [--threads 2] [--steps 20]
    python tests/benchmarks/bench_training.py --shape 768x16 [--steps 10]

The plain loop is what a tutorial does: the rows of a step as one padded batch with a mask, the model's
own loss on the learnt tokens, AdamW. Ours computes the divergence from cached targets. Times are
medians. `--shape WIDTHxLAYERS` takes a random model of that shape instead of the seed model, trains,
exports and checks an adapter end to end, and prints minutes and peak memory.
"""

import argparse
import json
import os
import random
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agentevo.distillation.rows import Lineage, Row, RowKind
from agentevo.distillation.settings import TrainSettings
from agentevo.seed_model.episodes import system_text
from agentevo.seed_model.player import TOOL
from agentevo.seed_model.shipped import seed_model_path

SCOPES = ("Kapu", "Beku", "Meti")
KINDS: tuple[RowKind, ...] = ("target", "with_rules", "replay", "scope", "conflict")
ITEMS = ("box", "jar", "coin", "ring", "drum", "book", "chair", "crate")


def make_rows() -> list[Row]:
    """Return rows of the lengths that practice in quirks gives."""
    rows = []
    for kind in KINDS:
        for scope in SCOPES:
            rules = [f"In {scope} {word} is zabo" for word in ("move", "send", "open", "red")] * 2
            told = system_text(rules)
            teacher = system_text([]) if kind == "scope" else told
            student = system_text([]) if kind in ("target", "scope") else told
            rows += [_row(kind, scope, item, (teacher, student)) for item in ITEMS]
    return rows


def _row(kind: RowKind, scope: str, item: str, systems: tuple[str, str]) -> Row:
    plan = "; ".join(f"{scope} {w} is {w}" for w in ("move", "obj", "to", "shelf"))
    call = {"name": "run", "arguments": json.dumps({"command": f"do zabo obj {item} to shelf"})}
    messages = (
        {"role": "user", "content": f"In {scope}: move the {item} to the shelf."},
        {
            "role": "assistant",
            "content": f"Plan: {scope} move is zabo; {plan}\n",
            "tool_calls": [{"type": "function", "id": "c", "function": call}],
        },
    )
    return Row(kind, scope, *systems, messages, Lineage(("r",), "run"), (TOOL,))


def ours(base: Path, rows: Sequence[Row], steps: int) -> float:
    """Return the median seconds of a step of the trainer."""
    from agentevo.distillation.base_model import load_base
    from agentevo.distillation.trainer import train

    trained = train(load_base(base), rows, TrainSettings(steps=steps))
    return statistics.median(step.seconds for step in trained.history)


def plain(base: Path, rows: Sequence[Row], steps: int) -> float:
    """Return the median seconds of a step of a plain PEFT loop."""
    import torch
    from peft import LoraConfig, get_peft_model

    from agentevo.distillation.base_model import LORA_TARGETS, load_base
    from agentevo.distillation.encoding import encode_rows

    loaded, mix = load_base(base), TrainSettings().mix
    config = LoraConfig(r=8, lora_alpha=16, target_modules=list(LORA_TARGETS))
    model = get_peft_model(loaded.model, config)
    optimiser = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=2e-3)
    encoded = encode_rows(rows, loaded.tokenizer, max_tokens=2048)
    by_kind = {kind: [e.student for e in encoded if e.row.kind == kind] for kind in KINDS}
    seconds = []
    for step in range(steps):
        order = random.Random(f"0:{step}")
        batch = [e for kind, n in mix.items() for e in order.choices(by_kind[kind], k=n)]
        started = time.perf_counter()
        longest = max(len(sequence.ids) for sequence in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full_like(ids, -100)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)
            labels[row, list(sequence.learnt)] = torch.tensor(sequence.completion)
        mask = (torch.arange(longest) < torch.tensor([[len(s.ids)] for s in batch])).long()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def random_model(path: Path, width: int, layers: int) -> None:
    """Write a random model of a shape with the seed model's tokenizer."""
    import torch

    from agentevo.seed_model.gguf_writer import write_gguf
    from agentevo.seed_model.shape import Shape
    from agentevo.seed_model.tokenizer import vocabulary

    words, hidden = vocabulary(), width * 8 // 3 // 32 * 32
    shape = Shape(len(words.tokens), width, layers, width // 64, feed_forward=hidden)
    sizes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
    sizes |= {"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
    weights = {"token_embd.weight": torch.randn(len(words.tokens), width) * 0.1}
    for layer in range(layers):
        at = f"blk.{layer}"
        for name, (rows, columns) in sizes.items():
            weights[f"{at}.{name}.weight"] = torch.randn(rows, columns) / columns**0.5
        weights |= {f"{at}.{name}.weight": torch.ones(width) for name in ("attn_norm", "ffn_norm")}
    weights["output_norm.weight"] = torch.ones(width)
    write_gguf(path, weights, shape, vocabulary=words, card={}, precision="q8_0")


def end_to_end(path: Path, rows: Sequence[Row], steps: int, folder: Path) -> None:
    """Train, export and check an adapter of a model; print what it took."""
    from agentevo.distillation.dataset import Dataset
    from agentevo.distillation.jobs import plan_job, run_job
    from agentevo.distillation.registry import AdapterRegistry

    def tell(progress: Any) -> None:
        print(f"   step {progress.step}: {progress.seconds:.2f} s", flush=True)

    started = time.perf_counter()
    settings = TrainSettings(steps=steps, mix={"target": 2, "replay": 1, "scope": 1})
    job = plan_job(folder / "jobs", path, Dataset(tuple(rows)), settings)
    adapter = run_job(job, AdapterRegistry(folder / "adapters"), on_step=tell)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"minutes        {(time.perf_counter() - started) / 60:.1f}")
    print(f"peak memory    {peak:.2f} GiB")
    print(f"parity         {adapter.manifest.metrics['parity_agreement']:.3f}")


def compare(base: Path, rows: Sequence[Row], steps: int) -> None:
    """Print both speeds, measured in turn twice, and their ratio."""
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    arms: dict[str, Callable[..., float]] = {"ours": ours, "plain": plain}
    for _ in range(2):
        for name, arm in arms.items():
            found[name].append(arm(base, rows, steps))
    mean = {name: statistics.mean(values) for name, values in found.items()}
    print(f"ours           {mean['ours'] * 1000:.0f} ms a step")
    print(f"plain PEFT     {mean['plain'] * 1000:.0f} ms a step")
    print(f"throughput     {mean['plain'] / mean['ours']:.2f} times that of the plain loop")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of the plain loop"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--shape", help="WIDTHxLAYERS of a random model")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    import torch

    torch.set_num_threads(given.threads)
    rows = make_rows()
    if not given.shape:
        compare(seed_model_path(), rows, given.steps)
        return
    with tempfile.TemporaryDirectory(prefix="bench-training-") as name:
        width, layers = (int(number) for number in given.shape.split("x"))
        path = Path(name) / "base.gguf"
        random_model(path, width, layers)
        print(f"model          {path.stat().st_size / 2**20:.0f} MiB as q8_0", flush=True)
        end_to_end(path, rows, given.steps, Path(name))


if __name__ == "__main__":
    main()
