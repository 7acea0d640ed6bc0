"""Initial weights that already look back: a copying circuit written into a random network.

The stream is cut into orthogonal parts of `CODE` dimensions: one holds the token itself, one each
of the `LOOK_BACK` tokens before it. Layer 0 fills the latter. In layer 1, one head compares the
last four tokens with the four before every earlier position and copies what stood there; two more
compare the last one and the last two. Training starts from here; every weight remains free.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from agentevo.seed_model.shape import Shape, Weights

LOOK_BACK = 4
CODE = 36
CARRY = 0.2
"""What layer 0 adds of an earlier token, per unit of its normed input."""
OWN_TO_CARRIED = 0.5
FAST_PAIRS = 8
"""Rotary pairs that tell neighbouring positions apart."""
SLOW_FROM = 15
"""The first rotary pair that hardly turns within a prompt and can carry content."""
MATCH = 15.0
"""Attention per matched token without further scaling, measured."""
HEADS = ((4, 3.0), (1, 8.0), (2, 5.0))
"""(tokens compared, attention per matched token) of the heads of layer 1."""
COPY = 0.4


@dataclass(frozen=True, slots=True)
class Parts:
    """Orthonormal directions of the stream, as columns.

    Attributes:
        own: The token itself.
        before: The tokens one, two, ... back.
        identity: What a head copies to say a token again.
    """

    own: "Tensor"
    before: "list[Tensor]"
    identity: "Tensor"


def write_circuit(weights: "Weights", shape: "Shape") -> None:
    """Write the circuit into the random weights of at least two layers, in place."""
    parts = _divide(shape)
    embedding = weights["token_embd.weight"]
    embedding[:, 0] = 0
    for part in parts.before:
        embedding -= 0.6 * embedding @ part @ part.T
    embedding[:, 0] = 0.05 * shape.width**0.5
    constant = shape.width**0.5 * embedding[0, 0] / embedding.norm(dim=1).mean()
    weights["blk.0.ffn_down.weight"] *= 0.1
    for back in range(1, LOOK_BACK + 1):
        _write_look_back(
            weights, shape, parts, back, strength=math.sqrt(64 / 0.75) / float(constant)
        )
    for head in range(len(HEADS)):
        _write_match(weights, shape, parts, head)


def _divide(shape: "Shape") -> Parts:
    """Cut the stream into parts; dimension 0 is the same for every token and in none of them."""
    import torch

    basis = torch.linalg.qr(torch.randn(shape.width - 1, shape.width - 1))[0]
    basis = torch.cat([torch.zeros(1, shape.width - 1), basis])
    cuts = [basis[:, i * CODE : (i + 1) * CODE] for i in range(LOOK_BACK + 1)]
    rest = basis[:, (LOOK_BACK + 1) * CODE :]
    return Parts(cuts[0], cuts[1:], torch.cat([cuts[0], rest], dim=1)[:, : shape.head_width])


def _heads(weights: "Weights", shape: "Shape", layer: int, head: int) -> "list[Tensor]":
    """Return the views of one head: query, key, value (rows) and output (columns)."""
    span = slice(head * shape.head_width, (head + 1) * shape.head_width)
    q, k, v, o = (weights[f"blk.{layer}.attn_{n}.weight"] for n in ("q", "k", "v", "output"))
    return [q[span], k[span], v[span], o[:, span]]


def _write_look_back(
    weights: "Weights", shape: "Shape", parts: Parts, back: int, *, strength: float
) -> None:
    """Let a head of layer 0 attend `back` tokens back and carry what it sees."""
    from agentevo.seed_model.shape import frequencies

    query, key, value, output = _heads(weights, shape, 0, back - 1)
    half, phase = shape.head_width // 2, frequencies(shape)[:FAST_PAIRS] * back
    for matrix in (query, key):
        matrix.mul_(0.2)
        matrix[:, 0] = 0
    query[:FAST_PAIRS, 0] = strength
    key[:FAST_PAIRS, 0] = strength * phase.cos()
    key[half : half + FAST_PAIRS, 0] = strength * phase.sin()
    value.zero_()
    value[:CODE] = parts.own.T
    output.zero_()
    output[:, :CODE] = parts.before[back - 1] * CARRY


def _write_match(weights: "Weights", shape: "Shape", parts: Parts, head: int) -> None:
    """Let a head of layer 1 attend to what followed the same tokens, and copy it."""
    import torch

    matched, sharpness = HEADS[head]
    size, half = shape.head_width, shape.head_width // 2
    slow = torch.zeros(size, 1)
    slow[SLOW_FROM:half] = 1
    slow[half + SLOW_FROM :] = 1
    query, key, value, output = _heads(weights, shape, 1, head)
    query.zero_()
    key.zero_()
    for back in range(matched):
        mix = torch.linalg.qr(torch.randn(size, size))[0][:, :CODE] * slow
        query += mix @ (parts.own if back == 0 else parts.before[back - 1] * OWN_TO_CARRIED).T
        key += mix @ parts.before[back].T
    gain = math.sqrt(sharpness * size**0.5 / (MATCH * float(slow.mean())))
    query *= gain
    key *= gain
    copied = parts.identity.shape[1]
    value.zero_()
    value[:copied] = parts.identity.T
    output.zero_()
    output[:, :copied] = parts.identity * COPY
