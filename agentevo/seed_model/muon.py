"""Muon: momentum whose step is orthogonalised, for matrices; same-shaped ones are batched.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Steps hidden matrices.

    Args:
        matrices: What to optimise, two-dimensional, each with its share of the learning rate.
        momentum: Share of the old average that is kept.
        decay: Weight decay per unit of learning rate.
    """

    def __init__(
        self, matrices: "list[tuple[Tensor, float]]", *, momentum: float = 0.95, decay: float = 0.01
    ):
        import torch

        self.momentum, self.decay = momentum, decay
        groups: dict[tuple[int, int], list[tuple[Tensor, float]]] = {}
        for matrix, share in matrices:
            rows, columns = sorted(matrix.shape)
            groups.setdefault((rows, columns), []).append((matrix, share))
        self.groups = list(groups.items())
        self.averages = [torch.zeros(len(group), *shape) for shape, group in self.groups]

    def step(self, rate: float) -> None:
        """Move every matrix by `rate` along its orthogonalised momentum."""
        import torch

        with torch.no_grad():
            for (shape, group), average in zip(self.groups, self.averages, strict=True):
                grads = [m.grad if tuple(m.shape) == shape else m.grad.T for m, _ in group]  # type: ignore[union-attr]
                stacked = torch.stack(grads)  # type: ignore[arg-type]
                average.lerp_(stacked, 1 - self.momentum)
                moves = orthogonalise(stacked.lerp(average, self.momentum))
                for (matrix, share), move in zip(group, moves, strict=True):
                    turned = move if tuple(matrix.shape) == shape else move.T
                    matrix.mul_(1 - rate * share * self.decay)
                    matrix.add_(turned, alpha=-rate * share * 0.2 * max(shape) ** 0.5)

    def state(self) -> list[Any]:
        """Return what `load` needs to continue."""
        return [average.clone() for average in self.averages]

    def load(self, state: list[Any]) -> None:
        """Continue from `state`."""
        for average, saved in zip(self.averages, state, strict=True):
            average.copy_(saved)


def orthogonalise(stacked: "Tensor") -> "Tensor":
    """Return the nearest semi-orthogonal matrices by Newton-Schulz iteration in bfloat16."""
    a, b, c = COEFFICIENTS
    x = stacked.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    step: Tensor = x.float()
    return step
