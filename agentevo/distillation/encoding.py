"""Rows as token sequences: what is context, what the assistant said, teacher and student aligned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentevo.distillation.rows import KEPT_KINDS, Message, Row
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tokenised conversation.

    Attributes:
        ids: Token ids.
        learnt: Positions in `ids` that the assistant produced, ascending, none is 0.
    """

    ids: tuple[int, ...]
    learnt: tuple[int, ...]

    @property
    def completion(self) -> tuple[int, ...]:
        """The assistant's tokens."""
        return tuple(self.ids[position] for position in self.learnt)


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row for the trainer: the same completion after the teacher's and the student's prompt."""

    row: Row
    teacher: Encoded
    student: Encoded


def encode_rows(
    rows: Sequence[Row], tokenizer: "PreTrainedTokenizerFast", *, max_tokens: int
) -> list[EncodedRow]:
    """Tokenise rows by the model's chat template.

    What must not change is left out where it is too long: it is an answer that found no end.

    Raises:
        AdapterError: A row to learn is longer than `max_tokens`, or a row has no assistant turn or
            a completion that is tokenised differently in the two prompts.
    """
    encoded = []
    for row in rows:
        teacher = encode(row, row.teacher_system, tokenizer)
        student = encode(row, row.student_system, tokenizer)
        if not student.learnt:
            raise AdapterError(f"row {row.id} has no assistant turn to learn from")
        if teacher.completion != student.completion:
            raise AdapterError(f"row {row.id}: the chat template renders its turns by the prompt")
        longest = max(len(teacher.ids), len(student.ids))
        if longest > max_tokens and row.kind in KEPT_KINDS:
            continue
        if longest > max_tokens:
            raise AdapterError(
                f"row {row.id} has {longest} tokens; at most {max_tokens} fit. Raise max_tokens "
                "or leave long episodes out of the plan"
            )
        encoded.append(EncodedRow(row, teacher, student))
    return encoded


def encode(row: Row, system: str, tokenizer: "PreTrainedTokenizerFast") -> Encoded:
    """Tokenise a row's conversation after `system` and mark the assistant's tokens.

    The token that ends a turn counts as the assistant's.
    """
    conversation: list[Message] = [*([{"role": "system", "content": system}] if system else [])]
    conversation += row.messages
    text, spans = _render(conversation, row.tools, tokenizer)
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = tokens["input_ids"]
    learnt = [
        position
        for position, (start, end) in enumerate(tokens["offset_mapping"])
        if position > 0 and any(first <= start and end <= last for first, last in spans)
    ]
    return Encoded(tuple(ids), tuple(learnt))


def _render(
    conversation: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    tokenizer: "PreTrainedTokenizerFast",
) -> tuple[str, list[tuple[int, int]]]:
    """Return the rendered text and the character spans of the assistant's turns."""

    def rendered(until: int, **options: Any) -> str:
        chat = [dict(message) for message in conversation[:until]]
        return str(
            tokenizer.apply_chat_template(
                chat, tools=[dict(tool) for tool in tools] or None, tokenize=False, **options
            )
        )

    spans = []
    text = rendered(len(conversation))
    for index, message in enumerate(conversation):
        if message["role"] != "assistant":
            continue
        prompt = rendered(index, add_generation_prompt=True)
        turn = rendered(index + 1)
        if not (text.startswith(turn.rstrip()) and turn.startswith(prompt)):
            raise AdapterError(
                "the chat template rewrites earlier turns; such models are serve-only"
            )
        spans.append((len(prompt), len(turn.rstrip())))
    return text, spans
