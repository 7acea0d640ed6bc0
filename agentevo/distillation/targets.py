"""What the student should say: the teacher's next-token distributions, computed once per row.

The teacher is the frozen base, so its distributions over verified trajectories never change and
are cached before the first step. Large vocabularies keep the most likely tokens and the rest as
one bucket.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentevo.distillation.encoding import Encoded, EncodedRow

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

FULL_VOCABULARY = 4096
TOP_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """The teacher's distribution at each learnt token of a row.

    Attributes:
        tokens: Token ids kept, shape (learnt, kept); None means the full vocabulary in order.
        log_probs: Their log-probabilities, shape (learnt, kept).
        focus: KL divergence in nats between the teacher and the base under the student's prompt,
            shape (learnt,): large where the rules decide, zero elsewhere.
    """

    tokens: "Tensor | None"
    log_probs: "Tensor"
    focus: "Tensor"


def learnt_log_probs(model: "PreTrainedModel", batch: Sequence[Encoded]) -> list["Tensor"]:
    """Return, for each sequence, log-probabilities of shape (learnt, vocabulary).

    Row i of the result predicts the i-th learnt token, so it is read one position earlier.
    """
    import torch

    device = next(model.parameters()).device
    longest = max(len(sequence.ids) for sequence in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids, device=device)
        mask[row, : len(sequence.ids)] = 1
    with _autocast(device):
        hidden = model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    results = []
    for row, sequence in enumerate(batch):
        positions = torch.tensor(sequence.learnt, device=device) - 1
        logits = model.get_output_embeddings()(hidden[row, positions].float())
        results.append(logits.float().log_softmax(-1))
    return results


def _autocast(device: "torch.device") -> "torch.autocast":
    import torch

    return torch.autocast(device.type, torch.bfloat16)


def teacher_targets(model: "PreTrainedModel", rows: Sequence[EncodedRow]) -> list[Target]:
    """Compute the targets of rows with the adapter off; `model` must be the bare base."""
    import torch

    targets = []
    with torch.no_grad():
        for row in rows:
            [teacher] = learnt_log_probs(model, [row.teacher])
            if row.teacher == row.student:
                focus = torch.zeros(len(teacher))
            else:
                [student] = learnt_log_probs(model, [row.student])
                focus = (teacher.exp() * (teacher - student)).sum(-1).clamp(min=0)
            targets.append(_keep(teacher, focus))
    return targets


def _keep(log_probs: "Tensor", focus: "Tensor") -> Target:
    if log_probs.shape[-1] <= FULL_VOCABULARY:
        return Target(None, log_probs, focus)
    kept = log_probs.topk(TOP_TOKENS, dim=-1)
    return Target(kept.indices, kept.values, focus)


def divergence(target: Target, student: "Tensor") -> "Tensor":
    """Return the forward KL, teacher to student, of each learnt token in nats, shape (learnt,).

    With a cut vocabulary the mass outside it is one more outcome, so that the sum is a lower
    bound of the full divergence and zero exactly when the kept probabilities agree.
    """
    import torch

    if target.tokens is None:
        return (target.log_probs.exp() * (target.log_probs - student)).sum(-1)
    teacher, kept = target.log_probs, student.gather(-1, target.tokens)
    inside = (teacher.exp() * (teacher - kept)).sum(-1)
    rest = (1 - teacher.exp().sum(-1)).clamp(min=1e-6)
    student_rest = (1 - kept.exp().sum(-1)).clamp(min=1e-6)
    return inside + rest * (torch.log(rest) - torch.log(student_rest))
