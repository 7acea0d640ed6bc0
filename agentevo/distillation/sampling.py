"""The student's own answers, for on-policy distillation."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from agentevo.distillation.base_model import BaseModel
from agentevo.distillation.rows import Message, Row

if TYPE_CHECKING:
    from peft import PeftModel


def sample_completions(
    base: BaseModel,
    model: "PeftModel",
    rows: Sequence[Row],
    *,
    seed: int,
    max_new_tokens: int = 256,
) -> list[Row]:
    """Return the rows with their first assistant turn replaced by one that the student samples.

    Turns after the first are cut: what the environment would answer to another action is unknown.
    """
    import torch

    torch.manual_seed(seed)
    sampled = []
    for row in rows:
        context = _until_first_answer(row)
        system = [{"role": "system", "content": row.student_system}] if row.student_system else []
        prompt = base.tokenizer.apply_chat_template(
            [*system, *(dict(message) for message in context)],
            tools=[dict(tool) for tool in row.tools] or None,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        ).to(base.device)
        with torch.no_grad():
            output = model.generate(
                **prompt,
                max_new_tokens=max_new_tokens,
                do_sample=True,
                top_k=0,
                pad_token_id=base.tokenizer.pad_token_id,
            )
        answer = output[0, prompt["input_ids"].shape[1] :]
        text = base.tokenizer.decode(answer, skip_special_tokens=True)
        sampled.append(replace(row, messages=(*context, {"role": "assistant", "content": text})))
    return sampled


def _until_first_answer(row: Row) -> tuple[Message, ...]:
    first = next(i for i, message in enumerate(row.messages) if message["role"] == "assistant")
    return row.messages[:first]
