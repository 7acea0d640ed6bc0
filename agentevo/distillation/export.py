"""LoRA matrices as a GGUF adapter that llama.cpp loads; needs neither torch nor peft.

Only plain LoRA on linear layers is written. llama.cpp stores the rows of the Q and K projections
of the llama architecture in another order than Hugging Face (pairs of a rotation side by side), so
their `lora_b` is permuted likewise; without it the file loads and computes something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo.errors import AdapterError

BASE_SHA_KEY = "agentevo.base_sha256"
_MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PERMUTED = {"llama": {"self_attn.q_proj": "heads", "self_attn.k_proj": "kv_heads"}}

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The two matrices of one adapted layer.

    Attributes:
        a: Shape (rank, inputs).
        b: Shape (outputs, rank), without any scaling.
    """

    a: Matrix
    b: Matrix


@dataclass(frozen=True, slots=True)
class AdapterHeader:
    """What the file says about itself.

    Attributes:
        architecture: `general.architecture` of the base.
        heads: Number of attention heads of the base.
        kv_heads: Number of key-value heads.
        scaling: Factor of the deltas, alpha / rank in plain LoRA; it is baked into `lora_b`.
        base_sha256: Hash of the base model file; "" when unknown.
        name: A name for people.
    """

    architecture: str
    heads: int
    kv_heads: int
    scaling: float = 1.0
    base_sha256: str = ""
    name: str = "adapter"


def write_adapter(path: Path, layers: Mapping[str, LoraPair], header: AdapterHeader) -> None:
    """Write a GGUF adapter.

    Args:
        path: The file to write.
        layers: Hugging Face module names, such as `model.layers.0.self_attn.q_proj`, to matrices.
        header: What the file says about itself.

    Raises:
        AdapterError: A layer is not a linear layer of a transformer block (embeddings and the
            output layer are refused, tied or not), or its matrices do not fit each other.
    """
    if not layers:
        raise AdapterError("an adapter without layers changes nothing; name its target modules")
    tensors = [tensor for name, pair in layers.items() for tensor in _tensors(name, pair, header)]
    import gguf

    writer = gguf.GGUFWriter(path, header.architecture)
    writer.add_type("adapter")
    writer.add_name(header.name)
    writer.add_string("adapter.type", "lora")
    # llama.cpp scales by alpha / rank; alpha 0 means: by the factor given at run time only
    writer.add_float32("adapter.lora.alpha", 0.0)
    if header.base_sha256:
        writer.add_string(BASE_SHA_KEY, header.base_sha256)
    for name, tensor in tensors:
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(name: str, pair: LoraPair, header: AdapterHeader) -> list[tuple[str, Matrix]]:
    block, module = _locate(name)
    a = np.ascontiguousarray(pair.a, np.float32)
    b = np.ascontiguousarray(pair.b, np.float32) * np.float32(header.scaling)
    if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:  # noqa: PLR2004 (matrices)
        raise AdapterError(f"{name}: lora_a {a.shape} and lora_b {b.shape} are no pair")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AdapterError(f"{name} holds values that are not finite; nothing was written")
    count = _PERMUTED.get(header.architecture, {}).get(module)
    if count is not None:
        b = permute(b, getattr(header, count))
    weight = f"blk.{block}.{_MODULES[module]}.weight"
    return [(f"{weight}.lora_a", a), (f"{weight}.lora_b", b)]


def _locate(name: str) -> tuple[int, str]:
    """Return the block number and module of a Hugging Face module name."""
    parts = name.split(".")
    module = ".".join(parts[-2:])
    if len(parts) < 3 or module not in _MODULES or not parts[-3].isdigit():  # noqa: PLR2004
        raise AdapterError(
            f"{name!r} cannot be adapted in GGUF; adaptable are the layers " + ", ".join(_MODULES)
        )
    return int(parts[-3]), module


def permute(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a Q or K projection from Hugging Face's to llama.cpp's order."""
    outputs, width = rows.shape
    halves = rows.reshape(heads, 2, outputs // heads // 2, width)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(outputs, width))
