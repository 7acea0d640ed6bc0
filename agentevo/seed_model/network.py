"""The network: a plain llama-architecture transformer; `circuit` shapes its initial weights.

Weights are a dict of float32 tensors under their GGUF names; queries and keys use the rotation
of split halves, which `gguf_writer` interleaves for llama.cpp.
"""

import math
from typing import TYPE_CHECKING

from agentevo.seed_model.circuit import write_circuit
from agentevo.seed_model.shape import Shape, Weights, frequencies

if TYPE_CHECKING:
    from torch import Tensor


def rotations(shape: Shape) -> "tuple[Tensor, Tensor]":
    """Return cosines and sines by position, each (context, head_width / 2)."""
    import torch

    angles = torch.arange(shape.context)[:, None] * frequencies(shape)
    return angles.cos(), angles.sin()


def initial_weights(shape: Shape, seed: int = 0) -> Weights:
    """Return fresh weights with the copying circuit in place."""
    import torch

    torch.manual_seed(seed)
    attention = shape.heads * shape.head_width
    weights = {"token_embd.weight": torch.randn(shape.vocabulary, shape.width) * 0.1}
    out = 1 / math.sqrt(2 * shape.layers)
    for layer in range(shape.layers):
        sizes = {
            "attn_q": (attention, shape.width, 1.0),
            "attn_k": (attention, shape.width, 1.0),
            "attn_v": (attention, shape.width, 1.0),
            "attn_output": (shape.width, attention, out),
            "ffn_gate": (shape.feed_forward, shape.width, 1.0),
            "ffn_up": (shape.feed_forward, shape.width, 1.0),
            "ffn_down": (shape.width, shape.feed_forward, out),
        }
        for name, (rows, columns, gain) in sizes.items():
            scale = gain / math.sqrt(columns)
            weights[f"blk.{layer}.{name}.weight"] = torch.randn(rows, columns) * scale
        for name in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{name}.weight"] = torch.ones(shape.width)
    weights["output_norm.weight"] = torch.ones(shape.width)
    write_circuit(weights, shape)
    return weights


def run(weights: Weights, shape: Shape, ids: "Tensor", turn: "tuple[Tensor, Tensor]") -> "Tensor":
    """Return the final hidden state (batch, tokens, width) of token ids (batch, tokens)."""
    import torch
    from torch.nn import functional

    device = ids.device.type
    mixed = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if mixed else torch.float32
    cos, sin = (angles[: ids.shape[1]].to(kind) for angles in turn)

    def norm(x: "Tensor", name: str) -> "Tensor":
        return functional.rms_norm(x, (shape.width,), weights[name].to(kind), shape.epsilon)

    def rotate(x: "Tensor") -> "Tensor":
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    x = functional.embedding(ids, weights["token_embd.weight"]).to(kind)
    batch, length = ids.shape
    # Explicit attention: on a CPU, the fused kernel is slower for short sequences.
    later = torch.full((length, length), -torch.inf, dtype=kind, device=ids.device).triu(1)
    for layer in range(shape.layers):
        name = f"blk.{layer}"
        y = norm(x, f"{name}.attn_norm.weight")
        q, k, v = (
            functional.linear(y, weights[f"{name}.attn_{n}.weight"])
            .view(batch, length, shape.heads, shape.head_width)
            .transpose(1, 2)
            for n in "qkv"
        )
        scores = rotate(q) @ rotate(k).transpose(-1, -2) * shape.head_width**-0.5
        a = scores.add_(later).softmax(-1).to(kind) @ v
        a = a.transpose(1, 2).reshape(batch, length, -1)
        x = x + functional.linear(a, weights[f"{name}.attn_output.weight"])
        y = norm(x, f"{name}.ffn_norm.weight")
        gate = functional.silu(functional.linear(y, weights[f"{name}.ffn_gate.weight"]))
        up = functional.linear(y, weights[f"{name}.ffn_up.weight"])
        x = x + functional.linear(gate * up, weights[f"{name}.ffn_down.weight"])
    return norm(x, "output_norm.weight")
