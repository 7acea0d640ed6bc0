"""What the student should say: the teacher's next-token distributions, computed once per row.

The teacher is the frozen base, so its distributions over verified trajectories never change and
are cached before the first step. Large vocabularies keep the most likely tokens and the rest as
one bucket.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentevo.distillation.encoding import Encoded, EncodedRow

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FULL_VOCABULARY = 4096
TOP_TOKENS = 64
BATCH_TOKENS = 4096
"""Tokens, padding included, of one forward pass of the teacher."""


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
    ids = torch.tensor(
        [[*sequence.ids, *[0] * (longest - len(sequence.ids))] for sequence in batch], device=device
    )
    # attention is causal and the padding stands last, so that no learnt token can see it
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    rows = [row for row, sequence in enumerate(batch) for _ in sequence.learnt]
    before = [position - 1 for sequence in batch for position in sequence.learnt]
    with torch.autocast(device.type, enabled=False):
        logits = model.get_output_embeddings()(hidden[rows, before].float())
        return list(logits.log_softmax(-1).split([len(sequence.learnt) for sequence in batch]))


def teacher_targets(model: "PreTrainedModel", rows: Sequence[EncodedRow]) -> list[Target]:
    """Compute the targets of rows with the adapter off; `model` must be the bare base."""
    import torch

    targets: dict[int, Target] = {}
    with torch.no_grad():
        for batch in _batches(rows):
            teachers = learnt_log_probs(model, [rows[index].teacher for index in batch])
            told = [index for index in batch if rows[index].teacher != rows[index].student]
            bare = learnt_log_probs(model, [rows[index].student for index in told]) if told else []
            students = dict(zip(told, bare, strict=True))
            for index, teacher in zip(batch, teachers, strict=True):
                targets[index] = _keep(teacher, _focus(teacher, students.get(index)))
    return [targets[index] for index in range(len(rows))]


def _batches(rows: Sequence[EncodedRow]) -> Iterator[list[int]]:
    """Yield row numbers in groups of similar length, at most `BATCH_TOKENS` tokens each."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index].teacher.ids)):
        if batch and len(rows[index].teacher.ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _focus(teacher: "Tensor", student: "Tensor | None") -> "Tensor":
    if student is None:
        return teacher.new_zeros(len(teacher))
    return (teacher.exp() * (teacher - student)).sum(-1).clamp(min=0)


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
