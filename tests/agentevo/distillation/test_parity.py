"""What is trained in torch is what llama.cpp computes: llama and qwen3 shapes, f16 and q8_0 files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentevo.distillation.base_model import BaseModel, load_base
from agentevo.distillation.export import AdapterHeader, write_adapter
from agentevo.distillation.parity import check_parity
from agentevo.distillation.publish import Origin, lora_layers, publish
from agentevo.distillation.registry import AdapterRegistry
from agentevo.distillation.rows import Row
from agentevo.seed_model.chat_template import CHAT_TEMPLATE
from agentevo.seed_model.tokenizer import CONTROL, TOOL_TAGS, vocabulary

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore::FutureWarning:peft"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

WIDTH, HEADS, KV_HEADS, HEAD, HIDDEN, BLOCKS = 64, 4, 2, 32, 96, 2
TOLERANCE = {"f16": 0.05, "q8_0": 0.35}
"""Largest difference of two logits: q8_0 quantises the activations in llama.cpp, not in torch."""
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
QWEN_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}


def write_base(path: Path, architecture: str, precision: str) -> Path:
    """Write a random model with the tokenizer and the template of the seed model."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    words = vocabulary()
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(words.tokens))
    kinds = {**dict.fromkeys(CONTROL, 3), **dict.fromkeys(TOOL_TAGS, 4)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(words.tokens))
    writer.add_token_types([kinds.get(token, 1) for token in words.tokens])
    writer.add_token_merges([" ".join(pair) for pair in words.merges])
    writer.add_eos_token_id(words.tokens.index("<|im_end|>"))
    writer.add_pad_token_id(words.tokens.index("<|endoftext|>"))
    writer.add_chat_template(CHAT_TEMPLATE)
    for name, values in random_tensors(architecture, len(words.tokens)):
        kind = {"f16": gguf.GGMLQuantizationType.F16, "q8_0": gguf.GGMLQuantizationType.Q8_0}
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            raw = gguf.quants.quantize(values, kind[precision])
            writer.add_tensor(name, raw, raw_dtype=kind[precision])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_tensors(architecture: str, words: int) -> Iterator[tuple[str, Any]]:
    """Yield random weights by GGUF name."""
    source = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Any:
        return (source.normal(size=(rows, columns)) * 0.15).astype(np.float32)

    def norm(size: int) -> Any:
        return source.uniform(0.5, 1.5, size=size).astype(np.float32)

    yield "token_embd.weight", matrix(words, WIDTH)
    yield "output_norm.weight", norm(WIDTH)
    for block in range(BLOCKS):
        at = f"blk.{block}."
        yield f"{at}attn_q.weight", matrix(HEADS * HEAD, WIDTH)
        yield f"{at}attn_k.weight", matrix(KV_HEADS * HEAD, WIDTH)
        yield f"{at}attn_v.weight", matrix(KV_HEADS * HEAD, WIDTH)
        yield f"{at}attn_output.weight", matrix(WIDTH, HEADS * HEAD)
        yield f"{at}ffn_gate.weight", matrix(HIDDEN, WIDTH)
        yield f"{at}ffn_up.weight", matrix(HIDDEN, WIDTH)
        yield f"{at}ffn_down.weight", matrix(WIDTH, HIDDEN)
        yield from ((f"{at}{name}.weight", norm(WIDTH)) for name in NORMS.values())
        if architecture == "qwen3":
            yield from ((f"{at}{name}.weight", norm(HEAD)) for name in QWEN_NORMS.values())


def random_adapter(base: BaseModel) -> Any:
    """Wrap a base with an adapter that changes every layer."""
    import torch
    from peft import LoraConfig, get_peft_model

    from agentevo.distillation.base_model import LORA_TARGETS

    torch.manual_seed(1)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(LORA_TARGETS),
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(base.model, config).eval()


@pytest.mark.parametrize("precision", ["f16", "q8_0"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_written_file_computes_what_was_trained(
    architecture: str, precision: str, tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    base = load_base(write_base(tmp_path / "base.gguf", architecture, precision))
    assert base.model.config.head_dim == HEAD
    rows = [make_row(word=word) for word in ("zabo", "kule", "mane")]
    adapter = publish(
        random_adapter(base), base, AdapterRegistry(tmp_path / "adapters"), Origin("sft"), rows
    )
    metrics = adapter.manifest.metrics
    assert metrics["parity_agreement"] == 1.0
    assert metrics["parity_largest"] < TOLERANCE[precision]


@pytest.mark.parametrize(("heads", "scaling"), [(2, 1.0), (HEADS, 2.0)])
def test_a_wrong_permutation_or_scale_does_not_pass(
    heads: int, scaling: float, tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    base = load_base(write_base(tmp_path / "base.gguf", "llama", "f16"))
    model, rows = random_adapter(base), [make_row(word="zabo kule mane " * 4)]
    path = tmp_path / "adapter.gguf"
    write_adapter(path, lora_layers(model), AdapterHeader("llama", heads, KV_HEADS, scaling))
    assert check_parity(model, base, path, rows).largest > 10 * TOLERANCE["f16"]
