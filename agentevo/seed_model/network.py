"""The network: a plain llama-architecture transformer whose initial weights already look back.

A small model spends most of a short training on forming the circuit "find the earlier place with
the same last words and copy what followed". Here the first two layers start as that circuit: the
heads of layer 0 attend one to four tokens back, and one head of layer 1 compares the last four
tokens with the four tokens before every earlier position. Only initial values differ from an
ordinary model.

Weights are a dict of float32 tensors under their GGUF names; queries and keys use the rotation
of split halves, which `agentevo.seed_model.gguf_file` permutes for llama.cpp.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Weights: TypeAlias = "dict[str, Tensor]"

LOOK_BACK = 4
CODE = 36
CARRY = 0.2
OWN_TO_CARRIED = 0.5
MATCH = 15.0
FAST_PAIRS = 8
SLOW_FROM = 15


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of the network.

    Attributes:
        vocabulary: Number of tokens.
        width: Size of the residual stream, a multiple of 32.
        layers: Number of blocks.
        heads: Attention heads per block.
        head_width: Size of a head.
        feed_forward: Size of the gated feed-forward layer, a multiple of 32.
        context: Largest number of tokens.
        rope_base: Base of the rotary frequencies.
        epsilon: Added under the root in RMS norms.
    """

    vocabulary: int
    width: int = 192
    layers: int = 6
    heads: int = 4
    head_width: int = 64
    feed_forward: int = 512
    context: int = 1024
    rope_base: float = 1e6
    epsilon: float = 1e-6


def frequencies(shape: Shape) -> "Tensor":
    """Return the rotation per token of each pair of head dimensions, in radians."""
    import torch

    return 1.0 / shape.rope_base ** (torch.arange(0, shape.head_width, 2) / shape.head_width)


def rotations(shape: Shape) -> "tuple[Tensor, Tensor]":
    """Return cosines and sines by position, each (context, head_width / 2)."""
    import torch

    angles = torch.arange(shape.context)[:, None] * frequencies(shape)
    return angles.cos(), angles.sin()


def initial_weights(shape: Shape, seed: int = 0) -> Weights:
    """Return fresh weights with the look-back circuit in place."""
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
    _look_back(weights, shape)
    return weights


def _look_back(weights: Weights, shape: Shape) -> None:
    """Shape layers 0 and 1 into a copying circuit, in place.

    The stream is cut into orthogonal parts of `CODE` dimensions: one that holds the token itself
    and one for each of the `LOOK_BACK` tokens before it, which layer 0 fills.
    """
    import torch

    width, size, half = shape.width, shape.head_width, shape.head_width // 2
    basis = torch.linalg.qr(torch.randn(width - 1, width - 1))[0]
    basis = torch.cat([torch.zeros(1, width - 1), basis])
    cuts = [basis[:, i * CODE : (i + 1) * CODE] for i in range(LOOK_BACK + 1)]
    own, before = cuts[0], cuts[1:]
    embedding = weights["token_embd.weight"]
    embedding[:, 0] = 0
    for part in before:
        embedding -= 0.6 * embedding @ part @ part.T
    embedding[:, 0] = 0.05 * width**0.5
    constant = width**0.5 * embedding[0, 0] / embedding.norm(dim=1).mean()
    weights["blk.0.ffn_down.weight"] *= 0.1
    turn, strength = frequencies(shape), math.sqrt(64 / 0.75) / float(constant)
    q0, k0, v0, o0 = (weights[f"blk.0.attn_{n}.weight"] for n in ("q", "k", "v", "output"))
    for head, part in enumerate(before):
        rows = slice(head * size, (head + 1) * size)
        for matrix in (q0, k0):
            matrix[rows] *= 0.2
            matrix[rows, 0] = 0
        q0[rows, 0][:FAST_PAIRS] = strength
        phase = turn[:FAST_PAIRS] * (head + 1)
        k0[rows, 0][:FAST_PAIRS] = strength * phase.cos()
        k0[rows, 0][half : half + FAST_PAIRS] = strength * phase.sin()
        v0[rows] = 0
        v0[rows][:CODE] = own.T
        o0[:, rows] = 0
        o0[:, rows][:, :CODE] = part * CARRY
    slow = torch.zeros(size, 1)
    slow[SLOW_FROM:half] = 1
    slow[half + SLOW_FROM :] = 1
    q1, k1, v1, o1 = (weights[f"blk.1.attn_{n}.weight"] for n in ("q", "k", "v", "output"))
    identity = torch.cat([own, basis[:, (LOOK_BACK + 1) * CODE :]], dim=1)[:, :size]
    for head, (matched, sharpness) in enumerate(((4, 3.0), (1, 8.0), (2, 5.0))):
        rows = slice(head * size, (head + 1) * size)
        query, key = torch.zeros(size, width), torch.zeros(size, width)
        for back in range(matched):
            mix = torch.linalg.qr(torch.randn(size, size))[0][:, :CODE] * slow
            query += mix @ (own if back == 0 else before[back - 1] * OWN_TO_CARRIED).T
            key += mix @ before[back].T
        gain = math.sqrt(sharpness * size**0.5 / (MATCH * float(slow.mean())))
        q1[rows], k1[rows] = query * gain, key * gain
        v1[rows] = 0
        v1[rows][: identity.shape[1]] = identity.T
        o1[:, rows] = 0
        o1[:, rows][:, : identity.shape[1]] = identity * 0.4


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
