"""New adapters from old ones: weighted sums and PEFT's TIES and DARE merges."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from agentevo.distillation.base_model import BaseModel
from agentevo.distillation.registry import Adapter
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from peft import PeftModel

Combination = Literal["linear", "cat", "svd", "ties", "dare_linear", "dare_ties"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)
_SPARSE: tuple[Combination, ...] = ("ties", "dare_linear", "dare_ties")
_MERGED = "merged"


def merge_adapters(
    base: BaseModel,
    parts: Sequence[tuple[Adapter, float]],
    combination: Combination = "linear",
    *,
    density: float = 0.5,
    seed: int = 0,
) -> "PeftModel":
    """Return a model whose active adapter combines others.

    Args:
        base: The base that all parts belong to; its modules are wrapped in place.
        parts: Adapters with their weights; one adapter with weight 0.5 is itself at half scale.
        combination: `linear` (equal ranks), `cat` (exact weighted sum, ranks add up), `svd`,
            `ties` (Yadav et al. 2023), `dare_linear` and `dare_ties` (Yu et al. 2024).
        density: Share of values that the sparse combinations keep, in (0, 1].
        seed: Seed of DARE's random dropping.

    Raises:
        AdapterError: Unknown combination, no part, a part of another base, or ranks that the
            combination cannot join.
    """
    import torch
    from peft import PeftModel

    if combination not in COMBINATIONS:
        raise AdapterError(f"unknown combination {combination!r}; {', '.join(COMBINATIONS)}")
    if not parts:
        raise AdapterError("name at least one adapter to merge")
    for adapter, _ in parts:
        if adapter.manifest.base_sha256 != base.sha256:
            raise AdapterError(f"adapter {adapter.id} belongs to another base model")
    torch.manual_seed(seed)
    names = [f"part{index}" for index in range(len(parts))]
    first = parts[0][0].folder / "peft"
    model = PeftModel.from_pretrained(base.model, first, adapter_name=names[0])
    for name, (adapter, _) in zip(names[1:], parts[1:], strict=True):
        model.load_adapter(adapter.folder / "peft", adapter_name=name)
    weights = [weight for _, weight in parts]
    options = {"density": density} if combination in _SPARSE else {}
    try:
        model.add_weighted_adapter(names, weights, _MERGED, combination_type=combination, **options)
    except ValueError as error:
        raise AdapterError(f"{combination} cannot join these adapters: {error}") from error
    model.set_adapter(_MERGED)
    return model
