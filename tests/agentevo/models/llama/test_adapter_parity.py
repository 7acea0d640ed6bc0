"""Our loading of LoRA adapters against PEFT's, on tiny models of two architectures.

llama.cpp keeps keys and values in half precision. For logits of standard deviation near one, the
measured differences are 0.001 (llama) and 0.003 (qwen3); 0.02 leaves room for other machines.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentevo.distillation.export import AdapterHeader, LoraPair, write_adapter
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.model import LlamaModel

TOLERANCE = 0.02
TOKENS = list(range(5, 29))
# peft asks transformers for a name that transformers is about to drop
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::FutureWarning")]


def served_logits(model: LlamaModel, adapters: AdapterSet) -> Any:
    context = Context(model, ContextShape(64, 1, 64, 64, 1))
    try:
        context.apply(adapters)
        rows = []
        for i, token in enumerate(TOKENS):
            rows.append(context.decode([Piece(0, i, [token], True)])[0].copy())
        return np.array(rows)
    finally:
        context.close()


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_logits_equal_peft(
    architecture: str, tmp_path: Path, write_model: Any, sizes: Any, random_weights: Any
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    config_class, model_class = kinds[architecture]
    config = config_class(
        vocab_size=sizes.vocabulary, hidden_size=sizes.width, intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.blocks, num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads, head_dim=sizes.head, rms_norm_eps=1e-6,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    weights = random_weights(architecture)
    reference = model_class(config).eval()
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    reference.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]})
    path = tmp_path / "model.gguf"
    write_model(path, architecture, weights, sizes)
    model = LlamaModel(path)
    with torch.no_grad():
        base = reference(torch.tensor([TOKENS])).logits[0].numpy()
    assert np.abs(served_logits(model, BASE) - base).max() < TOLERANCE

    torch.manual_seed(1)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = get_peft_model(
        reference, LoraConfig(r=4, lora_alpha=6, target_modules=targets, init_lora_weights=False)
    ).eval()
    with torch.no_grad():
        wanted = tuned(torch.tensor([TOKENS])).logits[0].numpy()
    state = tuned.state_dict()
    layers = {
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight"): LoraPair(
            tensor.numpy(), state[name.replace("lora_A", "lora_B")].numpy()
        )
        for name, tensor in state.items()
        if name.endswith(".lora_A.default.weight")
    }
    header = AdapterHeader(architecture, sizes.heads, sizes.kv_heads, 6 / 4, model.file.sha256)
    write_adapter(tmp_path / "adapter.gguf", layers, header)
    adapter = model.adapters.load(tmp_path / "adapter.gguf")
    served = served_logits(model, AdapterSet.of({adapter.id: 1.0}))
    assert np.abs(wanted - base).max() > 10 * TOLERANCE
    assert np.abs(served - wanted).max() < TOLERANCE
