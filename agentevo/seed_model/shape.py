"""Shape and weights of the network, as plain values."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Weights: TypeAlias = "dict[str, Tensor]"


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
