"""Our loading of LoRA adapters against PEFT's, on tiny models of two architectures and precisions.

The reference computes in single precision with the weights as the file stores them. llama.cpp keeps
keys and values in half precision, and with q8_0 weights it rounds the activations to 8 bits too.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentevo.distillation.export import AdapterHeader, LoraPair, write_adapter
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.model import LlamaModel

# Root mean square and largest difference of a logit, as shares of the logits' standard deviation;
# measured 0.0016 and 0.0105 with f16, 0.032 and 0.163 with q8_0, as much without an adapter as with.
TOLERANCE = {"F16": (0.005, 0.03), "Q8_0": (0.06, 0.4)}
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


def differences(served: Any, wanted: Any) -> Any:
    """Return the root mean square and the largest difference."""
    apart = np.abs(served - wanted)
    return np.array([np.sqrt((apart**2).mean()), apart.max()])


def as_stored(weights: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the weights with what storing them as `kind` loses; vectors are stored whole."""
    import gguf

    stored = gguf.GGMLQuantizationType[kind]
    return {
        name: gguf.quants.dequantize(gguf.quants.quantize(value, stored), stored)
        if value.ndim > 1
        else value
        for name, value in weights.items()
    }


@pytest.mark.parametrize("variant", [*product(["llama", "qwen3"], TOLERANCE)], ids="-".join)
def test_logits_equal_peft(
    variant: tuple[str, str], tmp_path: Path, write_model: Any, sizes: Any, random_weights: Any
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    architecture, kind = variant
    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}
    config_class, model_class = kinds[architecture]
    config = config_class(
        vocab_size=sizes.vocabulary, hidden_size=sizes.width, intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.blocks, num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads, head_dim=sizes.head, rms_norm_eps=1e-6,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    weights = as_stored(random_weights(architecture), kind)
    reference = model_class(config).eval()
    state = {name: torch.from_numpy(value) for name, value in weights.items()}
    reference.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"]})
    path = tmp_path / "model.gguf"
    write_model(path, architecture, weights, sizes, kind)
    model = LlamaModel(path)
    with torch.no_grad():
        base = reference(torch.tensor([TOKENS])).logits[0].numpy()
    tolerance = np.array(TOLERANCE[kind]) * base.std()
    assert all(differences(served_logits(model, BASE), base) < tolerance)

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
    assert differences(wanted, base)[0] > 10 * tolerance[0]
    assert all(differences(served, wanted) < tolerance)
