"""A real model file, engines on it, adapters for it, and tiny models of other architectures."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from agentevo.distillation.export import AdapterHeader, LoraPair, permute, write_adapter
from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import Completion, EngineRequest
from agentevo.models.llama.sampling import SamplingOptions
from agentevo.models.llama.template import ChatTemplate
from agentevo.prompts import render_system
from agentevo.recall import Recalled
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS

ROOT = Path(__file__).parents[4]
COLORS = ("red", "blue", "green", "white", "black", "gray")
RUN = {
    "type": "function",
    "function": {
        "name": "run",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
    },
}
# Batches of other shapes round differently. With this model, logits then move by up to 0.3, and the
# log-probability of a token of probability p by (1 - p) of that: measured, up to 0.01 nats on the
# prompts compared here (test_adapters.py checks it). Another adapter's answer is 7 nats away.
NEAR_TIE_NATS = 0.1

Array = NDArray[np.float32]


class Sizes(NamedTuple):
    """Dimensions of a tiny model; the head size is not width / heads, as in Qwen3."""

    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    head: int = 32
    hidden: int = 96
    blocks: int = 2
    vocabulary: int = 288


def find_model() -> Path | None:
    shipped = sorted((ROOT / "agentevo" / "seed_model").glob("*.gguf"))
    shared = Path(os.environ.get("AGENTEVO_SHARED_DATA", ROOT.parent / "shared" / "data"))
    found = [*shipped[::-1], *sorted(shared.glob("seed-prototype.gguf"))]
    return found[0] if found else None


@pytest.fixture(scope="session")
def model_path() -> Path:
    path = find_model()
    if path is None:
        pytest.skip("no seed model: neither shipped nor in AGENTEVO_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def weights(model_path: Path) -> LlamaModel:
    return LlamaModel(model_path)


@pytest.fixture
def engine(weights: LlamaModel) -> Iterator[LlamaEngine]:
    with LlamaEngine(weights) as engine:
        yield engine


def system_prompt(word: str | None) -> str:
    """Return what the seed model's own environment and runtime tell it, with one rule or none."""
    rule = Recalled("r1", "rule", f"In Moki move is {word}", 1.0, trusted=True)
    return render_system(INSTRUCTIONS, [rule] if word else [])


def task_of(color: str) -> str:
    return f"In Moki: move the {color} box to the shelf."


@pytest.fixture(scope="session")
def make_request(weights: LlamaModel) -> Callable[..., EngineRequest]:
    """A task in the seed model's own format; `word` is what the rule in the prompt says."""
    template = ChatTemplate.of(weights)

    def make(color: str = "red", word: str | None = "zabo", **options: Any) -> EngineRequest:
        fields = {k: options.pop(k) for k in ("adapters", "client", "timeout_s") if k in options}
        options.setdefault("max_tokens", 60)
        said = [
            {"role": "system", "content": system_prompt(word)},
            {"role": "user", "content": task_of(color)},
        ]
        return EngineRequest(
            tuple(template.tokens(said, [RUN])), SamplingOptions(**options), **fields
        )

    return make


@pytest.fixture(scope="session")
def ask(make_request: Callable[..., EngineRequest]) -> Callable[..., Completion]:
    def ask(engine: LlamaEngine, color: str = "red", **options: Any) -> Completion:
        return engine.submit(make_request(color, **options), wait_s=None).result(120)

    return ask


@pytest.fixture(scope="session")
def make_adapter(
    weights: LlamaModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Write a random adapter; `effect` is the size of its deltas against the weights."""

    def make(seed: int, effect: float = 1.0, base_sha256: str | None = None) -> Path:
        path = tmp_path_factory.mktemp("adapters") / f"a{seed}.gguf"
        rng = np.random.default_rng(seed)
        layers = {}
        for name in ("attn_q", "attn_v", "ffn_down"):
            rows, columns = weights.file.shapes[f"blk.1.{name}.weight"]
            module = {"attn_q": "self_attn.q_proj", "attn_v": "self_attn.v_proj"}
            a = rng.normal(size=(4, columns)).astype(np.float32) / np.sqrt(columns)
            b = rng.normal(size=(rows, 4)).astype(np.float32) * effect
            layers[f"model.layers.1.{module.get(name, 'mlp.down_proj')}"] = LoraPair(a, b)
        heads = weights.file.count("attention.head_count")
        sha = weights.file.sha256 if base_sha256 is None else base_sha256
        write_adapter(path, layers, AdapterHeader("llama", heads, heads, 1.0, sha, f"a{seed}"))
        return path

    return make


@pytest.fixture(scope="session")
def distilled(
    weights: LlamaModel,
    make_request: Callable[..., EngineRequest],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, AdapterSet]:
    """Real adapters: each was distilled from another rule and answers with its word."""
    made = {}
    for seed, word in enumerate(("kule", "vogi", "mane")):
        path = tmp_path_factory.mktemp("distilled") / f"{word}.gguf"
        with LlamaEngine(weights) as engine:
            asked = [engine.submit(make_request(c, word, max_tokens=100)) for c in COLORS]
            answers = [g.result(60).text for g in asked]
        with warnings.catch_warnings():
            # peft asks transformers for a name that transformers is about to drop
            warnings.simplefilter("ignore", FutureWarning)
            _distil(weights, path, word, answers, seed)
        made[word] = AdapterSet.of({weights.adapters.load(path).id: 1.0})
    return made


def _distil(weights: LlamaModel, path: Path, word: str, answers: list[str], seed: int) -> None:
    from agentevo.distillation.base_model import load_base
    from agentevo.distillation.publish import lora_layers
    from agentevo.distillation.rows import Row
    from agentevo.distillation.settings import TrainSettings
    from agentevo.distillation.trainer import train

    rows = []
    for color, answer in zip(COLORS, answers, strict=True):
        said = (
            {"role": "user", "content": task_of(color)},
            {"role": "assistant", "content": answer},
        )
        prompts = (system_prompt(word), system_prompt(None))
        rows.append(Row("target", "Moki", *prompts, said, tools=(RUN,)))
    base = load_base(weights.file.path)
    settings = TrainSettings(steps=20, warmup=5, seed=seed, mix={"target": 3})
    trained = train(base, rows, settings)
    heads = weights.file.count("attention.head_count")
    header = AdapterHeader("llama", heads, heads, 1.0, weights.file.sha256, word)
    write_adapter(path, lora_layers(trained.model), header)


@pytest.fixture(scope="session")
def equal_up_to_near_ties() -> Callable[[Completion, Completion], bool]:
    """Whether tokens and log-probabilities are equal up to the first place of a near-tie."""

    def equal(answer: Completion, right: Completion) -> bool:
        for a, b in zip(answer.logprobs, right.logprobs, strict=False):
            if a.token != b.token:
                return b.logprob - dict(b.top).get(a.token, -np.inf) < NEAR_TIE_NATS
            if abs(a.logprob - b.logprob) > NEAR_TIE_NATS:
                return False
        return answer.tokens == right.tokens

    return equal


@pytest.fixture(scope="session")
def write_model() -> Callable[..., None]:
    return write_gguf


@pytest.fixture(scope="session")
def random_weights() -> Callable[[str], dict[str, Array]]:
    """Random weights by Hugging Face name, for "llama" or "qwen3"."""

    def make(architecture: str) -> dict[str, Array]:
        s, rng = Sizes(), np.random.default_rng(0)
        shapes = {"model.embed_tokens.weight": (s.vocabulary, s.width)}
        norms = {"model.norm.weight": s.width}
        for i in range(s.blocks):
            at = f"model.layers.{i}"
            shapes |= {
                f"{at}.self_attn.q_proj.weight": (s.heads * s.head, s.width),
                f"{at}.self_attn.k_proj.weight": (s.kv_heads * s.head, s.width),
                f"{at}.self_attn.v_proj.weight": (s.kv_heads * s.head, s.width),
                f"{at}.self_attn.o_proj.weight": (s.width, s.heads * s.head),
                f"{at}.mlp.gate_proj.weight": (s.hidden, s.width),
                f"{at}.mlp.up_proj.weight": (s.hidden, s.width),
                f"{at}.mlp.down_proj.weight": (s.width, s.hidden),
            }
            norms |= {
                f"{at}.{n}.weight": s.width for n in ("input_layernorm", "post_attention_layernorm")
            }
            if architecture == "qwen3":
                norms |= {f"{at}.self_attn.{n}.weight": s.head for n in ("q_norm", "k_norm")}
        made = {n: (rng.normal(size=d) * 0.2).astype(np.float32) for n, d in shapes.items()}
        made |= {n: rng.uniform(0.5, 1.5, size=d).astype(np.float32) for n, d in norms.items()}
        return made

    return make


@pytest.fixture(scope="session")
def sizes() -> Sizes:
    return Sizes()


def write_gguf(
    path: Path,
    architecture: str,
    tensors: Mapping[str, Array],
    sizes: Sizes,
    kind: str = "F32",
    **extra: str,
) -> None:
    """Write a model file from Hugging Face weights by name; matrices are of type `kind`."""
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(f"tiny-{architecture}")
    writer.add_context_length(256)
    writer.add_embedding_length(sizes.width)
    writer.add_block_count(sizes.blocks)
    writer.add_feed_forward_length(sizes.hidden)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.kv_heads)
    writer.add_key_length(sizes.head)
    writer.add_value_length(sizes.head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(sizes.head)
    writer.add_vocab_size(sizes.vocabulary)
    _add_tokens(writer, sizes.vocabulary)
    for name, text in extra.items():
        writer.add_string(name, text)
    for name, tensor in tensors.items():
        counts = {"q_proj": sizes.heads, "k_proj": sizes.kv_heads}
        heads = counts.get(name.split(".")[-2]) if architecture == "llama" else None
        rows = permute(tensor, heads) if heads else tensor
        stored = gguf.GGMLQuantizationType[kind if rows.ndim > 1 else "F32"]
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(rows, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any, size: int) -> None:
    import gguf

    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [i for i in range(256) if i not in letters]
    tokens = [*map(chr, letters), *(chr(256 + i) for i in range(len(rest))), "ab"]
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(special)
    tokens += special
    unused = size - len(tokens)
    tokens += [f"<unused{i}>" for i in range(unused)]
    types += [gguf.TokenType.UNUSED] * unused
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)


def _gguf_name(name: str) -> str:
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in names:
        return names[name]
    modules = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "q_norm": "attn_q_norm", "k_norm": "attn_k_norm",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
    }  # fmt: skip
    parts = name.split(".")
    return f"blk.{parts[2]}.{modules[parts[-2]]}.weight"
