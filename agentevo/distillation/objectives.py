"""The training objectives, one function each: rows and the student in, one loss per row out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentevo.distillation.encoding import EncodedRow
from agentevo.distillation.targets import Target, divergence, learnt_log_probs
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def distil_context(
    model: "PreTrainedModel", rows: Sequence[EncodedRow], targets: Sequence[Target], focus: float
) -> list["Tensor"]:
    """Forward KL of the teacher with rules to the student without (context distillation).

    A row's loss is the sum over its tokens, so that the few tokens that the rules decide are not
    diluted by the many that they do not; `focus` weighs those further.
    """
    losses = []
    students = learnt_log_probs(model, [row.student for row in rows])
    for target, student in zip(targets, students, strict=True):
        weight = 1 + focus * target.focus.clamp(max=1)
        losses.append((weight * divergence(target, student)).sum())
    return losses


def imitate(model: "PreTrainedModel", rows: Sequence[EncodedRow]) -> list["Tensor"]:
    """Negative log-likelihood of the completions, summed over tokens (supervised fine-tuning)."""
    return [-score for score in _log_likelihoods(model, rows)]


def prefer(
    model: "PreTrainedModel",
    pairs: Sequence[tuple[EncodedRow, EncodedRow]],
    references: Sequence[tuple[float, float]],
    beta: float,
) -> list["Tensor"]:
    """Direct preference optimisation of (verified, failed) attempts at the same task.

    Args:
        model: The student.
        pairs: Verified and failed attempt.
        references: Log-likelihoods of both under the frozen base with the student's prompt.
        beta: How much a change of the likelihood ratio counts.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), equation 7.
    """
    import torch.nn.functional as F  # noqa: N812 (the name the field uses)

    won = _log_likelihoods(model, [verified for verified, _ in pairs])
    lost = _log_likelihoods(model, [failed for _, failed in pairs])
    return [
        -F.logsigmoid(beta * ((w - base_won) - (f - base_lost)))
        for w, f, (base_won, base_lost) in zip(won, lost, references, strict=True)
    ]


def reference_likelihoods(
    model: "PreTrainedModel", pairs: Sequence[tuple[EncodedRow, EncodedRow]]
) -> list[tuple[float, float]]:
    """Return the bare base's log-likelihoods of each pair, for `prefer`."""
    import torch

    with torch.no_grad():
        return [
            (float(score[0]), float(score[1]))
            for score in (_log_likelihoods(model, pair) for pair in pairs)
        ]


def pair_rows(rows: Sequence[EncodedRow]) -> list[tuple[EncodedRow, EncodedRow]]:
    """Return each target row with the failed attempts that name it.

    Raises:
        AdapterError: There is no pair.
    """
    targets = {row.row.id: row for row in rows if row.row.kind == "target"}
    pairs = [
        (targets[row.row.pair], row)
        for row in rows
        if row.row.kind == "rejected" and row.row.pair in targets
    ]
    if not pairs:
        raise AdapterError(
            "dpo needs failed attempts at tasks that were also solved; there are none. "
            "Run more tasks, or use the method context"
        )
    return pairs


def _log_likelihoods(model: "PreTrainedModel", rows: Sequence[EncodedRow]) -> list["Tensor"]:
    import torch

    students = learnt_log_probs(model, [row.student for row in rows])
    scores = []
    for row, log_probs in zip(rows, students, strict=True):
        tokens = torch.tensor(row.student.completion, device=log_probs.device)
        scores.append(log_probs.gather(-1, tokens[:, None]).sum())
    return scores
