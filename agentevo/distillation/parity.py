"""Compares the adapter in torch with the written file in llama.cpp, token by token.

Both quantise differently (f16 keys and values, q8_0 activations), so logits differ a little and near
ties may flip; a missing permutation or scale changes most of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agentevo.distillation.base_model import BaseModel
from agentevo.distillation.encoding import encode
from agentevo.distillation.rows import Row
from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.model import LlamaModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from peft import PeftModel

LEAST_AGREEMENT = 0.98
NEAR_TIE = 0.25
"""Logits this close may swap places."""
_MOST_ROWS = 8


@dataclass(frozen=True, slots=True)
class Parity:
    """How far torch and llama.cpp agree on the assistant's tokens.

    Attributes:
        tokens: Positions compared.
        agreement: Share of positions where torch's first choice is llama.cpp's, near ties counted.
        largest: Largest difference of two logits.
    """

    tokens: int
    agreement: float
    largest: float

    @property
    def ok(self) -> bool:
        """Whether the file computes what was trained."""
        return self.agreement >= LEAST_AGREEMENT


def check_parity(model: "PeftModel", base: BaseModel, adapter: Path, rows: Sequence[Row]) -> Parity:
    """Run a few rows through both and compare the logits of the learnt positions."""
    chosen = [encode(row, row.student_system, base.tokenizer) for row in rows[:_MOST_ROWS]]
    served = _llama_logits(base.path, adapter, [sequence.ids for sequence in chosen])
    agreeing, largest, tokens = 0, 0.0, 0
    for sequence, logits in zip(chosen, served, strict=True):
        positions = np.array(sequence.learnt) - 1
        ours, theirs = _torch_logits(model, sequence.ids)[positions], logits[positions]
        best = theirs[np.arange(len(positions)), ours.argmax(-1)]
        agreeing += int((best >= theirs.max(-1) - NEAR_TIE).sum())
        largest = max(largest, float(np.abs(ours - theirs).max()))
        tokens += len(positions)
    return Parity(tokens, agreeing / tokens, largest)


def _torch_logits(model: "PeftModel", ids: Sequence[int]) -> "NDArray[np.float32]":
    import torch

    with torch.no_grad():
        device = next(model.parameters()).device
        logits = model(input_ids=torch.tensor([ids], device=device)).logits[0]
        array: NDArray[np.float32] = logits.float().cpu().numpy()
    return array


def _llama_logits(
    base: Path, adapter: Path, sequences: Sequence[Sequence[int]]
) -> list["NDArray[np.float32]"]:
    longest = max(len(ids) for ids in sequences)
    served = LlamaModel(base)
    loaded = served.adapters.load(adapter)
    shape = ContextShape(
        n_ctx=longest, sequences=1, cells=longest, n_batch=max(longest, 64), n_threads=1
    )
    context = Context(served, shape)
    try:
        context.apply(AdapterSet.of({loaded.id: 1.0}))
        results = []
        for ids in sequences:
            pieces = [Piece(0, at, [token], wants_logits=True) for at, token in enumerate(ids)]
            results.append(context.decode(pieces).copy())
            context.forget(0)
        return results
    finally:
        context.close()
        served.close()
